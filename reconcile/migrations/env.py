"""Alembic's environment: steps run on the connection and in the transaction of `reconcile.migrate`."""

from alembic import context

from grab_service.sql.tables import metadata


def run() -> None:
    """Take the steps asked for."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("run `python -m reconcile migrate`: it holds the lock under which steps are taken")
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


run()
