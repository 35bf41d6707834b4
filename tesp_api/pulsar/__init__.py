"""Ways of reaching a Pulsar: one protocol (`base.py`), one module per transport."""
