"""A page served to this computer alone."""

import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from lmk3d.errors import InputError
from lmk3d.pages import PageServer


@pytest.fixture
def server():
    with PageServer("<p>größer</p>") as own:
        thread = threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield own
        own.shutdown()
        thread.join()


def test_the_page_is_served_and_not_kept(server):
    with urlopen(server.url, timeout=10) as answer:
        assert answer.read().decode() == "<p>größer</p>"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("path", "host"), [("etc/passwd", None), ("", "evil.example")])
def test_nothing_else_is_served_and_no_other_site_reaches_it(server, path, host):
    request = Request(server.url + path, headers={} if host is None else {"Host": host})
    with pytest.raises(HTTPError, match="404") as refused:
        urlopen(request, timeout=10)
    refused.value.close()


def test_it_listens_on_this_computer_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_or_impossible_is_said_to_be(server):
    with pytest.raises(InputError, match=rf"port {server.server_port}: cannot be used"):
        PageServer("", port=server.server_port)
    with pytest.raises(InputError, match="port 70000: cannot be used"):
        PageServer("", port=70_000)
