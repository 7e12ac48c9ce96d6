"""Claims and vouchers: shown, given back, exported."""
