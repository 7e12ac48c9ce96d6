"""What the ledger has found wrong, and who of ops has taken note."""
