"""docker-compose.yaml as a site uses it: built, brought up, disturbed, taken down; by `make deployment`."""
