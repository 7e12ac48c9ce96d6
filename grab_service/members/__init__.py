"""Members, their unions, blocks and sign-in."""
