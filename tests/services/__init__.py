"""Real servers that tests start: each is a context manager that leaves nothing running behind."""
