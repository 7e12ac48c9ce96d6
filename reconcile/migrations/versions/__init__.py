"""One step each, numbered in their order. What was released is not edited again."""
