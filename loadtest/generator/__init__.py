"""The stampede: a whole crowd that taps at the opening, as an open load, with a receipt for every request."""
