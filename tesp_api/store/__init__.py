"""Where tasks are kept: one protocol (`base.py`), one module per database."""
