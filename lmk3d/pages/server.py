"""A page served to this computer's own browser, from memory: nothing of the scan is written to disk."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lmk3d.errors import InputError

__all__ = ["PageServer"]

_HOST = "127.0.0.1"


class PageServer(ThreadingHTTPServer):
    """Serves one page at ``url`` once ``serve_forever`` runs; only this computer can reach it.

    Args:
        page: the HTML document.
        port: where to listen; any free one when 0.
    Raises:
        InputError: if the port is taken or not allowed.
    """

    daemon_threads = True

    def __init__(self, page: str, *, port: int = 0) -> None:
        self.page = page.encode()
        try:
            super().__init__((_HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or error
            raise InputError(f"port {port}: cannot be used ({said}); choose another, or leave --port out") from None

    @property
    def url(self) -> str:
        """Where the page stands."""
        return f"http://{_HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        own = (
            {f"{name}:{server.server_port}" for name in (_HOST, "localhost")} if isinstance(server, PageServer) else ()
        )
        # A page of another site may have its own name point here; it still says that name.
        if not isinstance(server, PageServer) or self.path != "/" or self.headers.get("Host") not in own:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(server.page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(server.page)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""
