"""Terms that all programs share. Imports nothing of the rest."""
