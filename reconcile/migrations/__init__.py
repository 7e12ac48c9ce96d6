"""Which steps lead from an empty database to the tables of this release? Alembic's; `reconcile.migrate` takes them."""
