"""The server of MONAI Label behind a gate: programs and pages of this machine alone may ask it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["OwnPagesOnly"]

_HERE = ("127.0.0.1", "localhost", "::1")


class OwnPagesOnly:
    """Refuses requests that a page of another site makes through a browser on this machine.

    MONAI Label answers any page, and a page can make the name of its own site point to this machine: such a request
    says that name as its host, or that of the site as its origin. Programs give no origin.

    Args:
        app: the ASGI application behind the gate.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand a request on, or answer with 403."""
        if scope["type"] not in ("http", "websocket") or _from_here(scope["headers"]):
            await self.app(scope, receive, send)
            return
        body = json.dumps({"detail": "this server answers programs and pages of its own machine alone"}).encode()
        kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
        await send({"type": f"{kind}.start", "status": 403, "headers": [(b"content-type", b"application/json")]})
        await send({"type": f"{kind}.body", "body": body})


def _from_here(headers: list[tuple[bytes, bytes]]) -> bool:
    said = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    hosts = [_host(f"//{value}") for name, value in said if name == "host"]
    origins = [_host(value) for name, value in said if name == "origin"]
    return len(hosts) == 1 and all(one in _HERE for one in hosts + origins)


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def __getattr__(name: str) -> Any:
    """``app``, which uvicorn asks for; MONAI Label reads its settings when it is imported."""
    if name == "app":
        from monailabel.app import app

        return OwnPagesOnly(app)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
