"""The tables in Postgres and how to reach them."""
