"""Only programs and pages of this machine get through to MONAI Label."""

import asyncio
import json

import pytest

from lmk3d.label import gate
from lmk3d.label.gate import OwnPagesOnly


def answer(*headers, kind="http"):
    """What a client gets: the first message's status and the body, or "through" where the application answers."""
    sent = []

    async def app(scope, receive, send):
        await send("through")

    async def send(message):
        sent.append(message)

    lines = [(name.encode(), value.encode()) for name, value in headers]
    asyncio.run(OwnPagesOnly(app)({"type": kind, "headers": lines}, None, send))
    return sent


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000"])
@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:8000", "http://localhost:3000", "https://[::1]"])
def test_programs_and_own_pages_get_through(host, origin):
    headers = [("Host", host)] + ([] if origin is None else [("Origin", origin)])
    assert answer(*headers) == ["through"]
    assert answer(*headers, kind="websocket") == ["through"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("host", "evil.example:8000")],
        [("host", "127.0.0.1.evil.example")],
        [("host", "127.0.0.1@evil.example")],
        [("host", "127.0.0.1:8000"), ("host", "evil.example")],
        [("host", "[::1")],
        [("host", "127.0.0.1:8000"), ("origin", "http://evil.example")],
        [("host", "127.0.0.1:8000"), ("origin", "null")],
        [("host", "127.0.0.1:8000"), ("origin", "file://")],
        [("host", "127.0.0.1:8000"), ("origin", "http://localhost.evil.example")],
    ],
)
def test_pages_of_other_sites_do_not(headers):
    start, body = answer(*headers)
    assert start["type"] == "http.response.start"
    assert start["status"] == 403
    assert "its own machine alone" in json.loads(body["body"])["detail"]
    assert answer(*headers, kind="websocket")[0]["type"] == "websocket.http.response.start"


def test_what_is_no_request_gets_through():
    assert answer(kind="lifespan") == ["through"]
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = gate.other
