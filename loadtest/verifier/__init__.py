"""The verifier: it compares what the clients were told with what the service has on record."""
