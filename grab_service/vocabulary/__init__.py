"""Which words do all programs share? Imports nothing of the rest."""
