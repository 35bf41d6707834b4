"""Benchmarks: `python -m bench.NAME [--json]`. What each measures is in README.md beside this file."""
