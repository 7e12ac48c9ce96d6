"""The service as one ASGI application, and the program that serves it."""
