"""In-memory stand-ins for our own protocols; each passes the protocol's contract suite."""
