"""Alembic's steps from an empty database to the tables of this release; `reconcile.migrate` runs them."""
