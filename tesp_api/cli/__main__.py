"""`python -m tesp_api.cli` is the `tesp` command."""

from tesp_api.cli.main import app

app()
