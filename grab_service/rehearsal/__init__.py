"""A campaign tried out before it opens, on servers of its own."""
