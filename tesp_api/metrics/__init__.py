"""What is counted and timed, and how Prometheus is told of it (docs/monitoring.md)."""
