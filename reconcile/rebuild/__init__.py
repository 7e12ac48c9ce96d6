"""A cell made again from Postgres, after a loss."""
