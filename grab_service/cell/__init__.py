"""The interface of service and ledger to the cell in Redis: keys, scripts, one method per Lua command."""
