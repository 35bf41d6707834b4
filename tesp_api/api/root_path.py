"""For servers behind a proxy that puts a path before all of ours."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """ASGI middleware: the proxy may leave its path in place or strip it, the routes see the same.

    A request that has come through the proxy stripped gets the path back, so that redirects lead there too.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            in_place = f"{path}/".startswith(f"{self._root_path}/")
            scope = {
                **scope,
                "root_path": self._root_path,
                "path": path if in_place else self._root_path + path,
            }
        await self._app(scope, receive, send)
