"""The conditions on which the cell may grant: one leader, an audited life of Redis, scripts loaded anew."""
