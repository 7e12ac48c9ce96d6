"""Real Valkey and PostgreSQL servers as child processes, for a machine that has neither."""
