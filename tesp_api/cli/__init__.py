"""The `tesp` command: the server, its health, and a client of its HTTP API."""
