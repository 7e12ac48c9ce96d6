"""The benchmark: the service measured beside its peers. It starts and drives the service and uses the load tools."""
