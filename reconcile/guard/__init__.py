"""When the cell may grant: one leader, an audited life of Redis, scripts loaded anew."""
