"""The documentation: what it shows works, what is made of the code is not stale, and it is a site."""
