"""Who is calling: assertions of the host app, keys, ended tokens."""
