"""One step each, numbered in their order. A released step is not edited again."""
