"""The ledger: moves the log of the cell into Postgres, exactly once, and proves that both agree."""
