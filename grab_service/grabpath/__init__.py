"""The path of a grab: lane, gate, batcher, cell. Knows neither SQL nor the ledger."""
