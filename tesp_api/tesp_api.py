"""So that `uvicorn tesp_api.tesp_api:app` starts the server with the settings of file and environment."""

from tesp_api.app import create_app

app = create_app()
