"""From the log into Postgres, each entry exactly once."""
