"""The gateway's HTTP app."""

from __future__ import annotations

import contextlib
import socket
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from azora.client.certificates import CertificateFiles, load_pem
from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from interceptors.errors import to_status
from services.compiler.contract import OPENAPI
from services.compiler.errors import RouteNotFound
from services.shared.server import private_socket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

    from services.gateway.health import MeshHealth
    from services.gateway.settings import GatewaySettings

TICKS_PER_SECOND = 10
"""Of uvicorn's main loop."""
STATIC = Path(__file__).with_name("static")
"""The API explorer: Swagger UI as its npm package has it, and a page of our own around it."""
CONSOLE = Path(__file__).with_name("console") / "static"
"""The console: modules of our own, over Preact and htm as their npm package has them."""
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of explorer and console: nothing from anywhere else, nothing inline."""
REVALIDATED = {"cache-control": "no-cache"}


def make_app(mesh: MeshHealth, *, development: bool) -> Starlette:
    """Return the HTTP app; in development with the API explorer and the console."""

    async def health(_request: Request) -> JSONResponse:
        body = {
            "status": "healthy" if mesh.all_healthy else "degraded",
            "services": {name: "healthy" if serves else "unhealthy" for name, serves in mesh.healthy.items()},
        }
        return JSONResponse(body, HTTPStatus.OK if mesh.all_healthy else HTTPStatus.SERVICE_UNAVAILABLE)

    async def document(_request: Request) -> FileResponse:
        return FileResponse(str(OPENAPI), headers=REVALIDATED)

    routes: list[Route | Mount] = [Route("/health", health), Route("/openapi.json", document)]
    for path, folder in {"/docs": STATIC, "/console": CONSOLE}.items() if development else ():
        routes += [Route(path, _index(folder)), Mount(path, _Assets(directory=folder))]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refuse})


def _index(folder: Path) -> Callable[[Request], Awaitable[Response]]:
    async def page(_request: Request) -> FileResponse:
        return FileResponse(folder / "index.html", headers=REVALIDATED | {"content-security-policy": CONTENT_POLICY})

    return page


class _Assets(StaticFiles):
    """Has browsers ask whether a file is still the same: it changes with the version of the system."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(REVALIDATED)
        return response


async def serve_pages(settings: GatewaySettings, mesh: MeshHealth) -> None:
    """Serve the HTTP app until cancelled."""
    over_tcp = not settings.http_listen.startswith("unix:")
    await serve(
        make_app(mesh, development=not settings.production),
        settings.http_listen,
        settings.mutual_tls if over_tcp else None,
    )


async def serve(app: Starlette, address: str, mutual_tls: tuple[Path, Path, Path] | None = None) -> None:
    """Serve an HTTP app until cancelled, on a unix socket for this user alone or on a TCP address."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,  # Envoy's covers it.
        server_header=False,
    )
    server = _Uvicorn(config, mutual_tls)
    with _listening(address) as listener:
        try:
            await server.serve(sockets=[listener])
        finally:
            server.stop_listening()


class _Uvicorn(uvicorn.Server):
    """Leaves the signals to the gRPC server, which ends the whole process in order, and renews its certificate."""

    def __init__(self, config: uvicorn.Config, mutual_tls: tuple[Path, Path, Path] | None) -> None:
        super().__init__(config)
        self._files: CertificateFiles[ssl.SSLContext] | None = None
        if mutual_tls:
            certificate, key, authority = mutual_tls
            self._files = CertificateFiles((authority, key, certificate), _server_context)
            self._context = context = self._files.load()
            context.sni_callback = self._use_newest
            config.ssl_context_factory = lambda _config, _default: context

    def stop_listening(self) -> None:
        """Have the event loop forget the sockets: a later one of the same number would never be accepted on."""
        for each in getattr(self, "servers", ()):  # Not set before it listens.
            each.close()

    async def on_tick(self, counter: int) -> bool:
        """Look at the certificate once a second; connections that begin then have the new one."""
        if self._files and counter % TICKS_PER_SECOND == 0:
            self._context = self._files.renewed() or self._context
        return await super().on_tick(counter)

    def _use_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Go on with the context that was loaded last: the first one still trusts a replaced authority."""
        connection.context = self._context

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server_context(files: Sequence[Path]) -> ssl.SSLContext:
    """Return a TLS context that serves members of the mesh only. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    load_pem(files, context)
    return context


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    """Answer unknown paths and methods like Envoy's own refusals."""
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    body = MessageToDict(to_status(RouteNotFound()), always_print_fields_with_no_presence=True)
    return JSONResponse(body, status)


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        with socket.create_server((host, int(port))) as listener:
            yield listener
        return
    with socket.socket(socket.AF_UNIX) as listener:
        with private_socket(address):
            listener.bind(address.removeprefix("unix:"))
        yield listener
