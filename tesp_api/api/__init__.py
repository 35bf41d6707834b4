"""The HTTP API: it writes to the store and rings the bell, and knows nothing of Pulsar or the runner.

`application.py` puts it together; `tasks.py` has the standard's endpoints, `extensions.py` our own.
"""
