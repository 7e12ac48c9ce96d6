"""How the service and the ledger talk to the cell in Redis: keys, scripts, one method per Lua command."""
