"""The Swagger UI, from files on this machine: compute sites often have no internet.

All addresses are relative, so that the page also works behind a proxy that adds a path.
"""

from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from tesp_api.api.answers import json_answer

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TESP</title>
<link rel="icon" href="docs/files/favicon-32x32.png">
<link rel="stylesheet" href="docs/files/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
</script>
</body>
</html>
"""


class DocsEndpoints:
    """`/` and `/docs` for people, `/openapi.json` for programs."""

    def __init__(self, document: dict[str, Any], root_path: str) -> None:
        self._document = document
        self._root_path = root_path

    def routes(self) -> list[BaseRoute]:
        """The endpoints as routes."""
        folder = str(files("fastapi_swagger").joinpath("resources"))
        return [
            Route("/", self.redirect, methods=["GET"]),
            Route("/docs", self.show_page, methods=["GET"]),
            Route("/openapi.json", self.show_document, methods=["GET"]),
            Mount("/docs/files", StaticFiles(directory=folder)),
        ]

    async def redirect(self, _: Request) -> Response:
        """Lead to the documentation."""
        return RedirectResponse(f"{self._root_path}/docs" if self._root_path else "docs")

    async def show_page(self, _: Request) -> Response:
        """The Swagger UI."""
        return HTMLResponse(_PAGE)

    async def show_document(self, _: Request) -> Response:
        """The OpenAPI document."""
        return json_answer(self._document)
