"""From Postgres into the cell: campaigns, codes, members."""
