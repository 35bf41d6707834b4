"""So that `uvicorn tesp_api.tesp_api:app` starts the server with the settings of file and environment."""

import logging

from tesp_api.app import create_app

logging.getLogger(__name__).warning(
    "this server was not started by `tesp serve`: slow clients, and heads of requests without an end, are "
    "for the program that serves it, or a proxy before it, to cut off (docs/security.md, Slow clients)"
)

app = create_app()
