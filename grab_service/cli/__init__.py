"""The command line `grab`."""
