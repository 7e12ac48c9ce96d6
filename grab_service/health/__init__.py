"""Checks of readiness: Redis, Postgres, the ledger, as a worker sees them."""
