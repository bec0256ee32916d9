"""A server of MONAI Label in an environment that holds what the documentation installs, and nothing else."""

from __future__ import annotations

import email
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
REQUIREMENTS = ROOT / "tools" / "label-requirements.txt"
UNREACHABLE = ("from versions: none", "ConnectionError", "Temporary failure in name resolution", "Connection refused")
PATIENCE_S = 900  # of a busy machine; on an idle one nothing here takes more than half a minute


@pytest.fixture(scope="session")
def label_python(closure: Callable[..., set[str]]) -> Path:
    """Python of an environment with MONAI Label and what ``pip install .`` brings; made once, a minute.

    What the project itself requires is linked from the environment that runs the tests, and nothing of its extras is.
    Skips where it cannot be made: on a Python that NumPy 1.26 does not know, or without a package index.
    """
    if not (3, 10) <= sys.version_info[:2] <= (3, 11):
        pytest.skip("MONAI Label 0.8.5 needs Python 3.10 or 3.11: distutils, NumPy 1.26")
    parts = [REQUIREMENTS.read_bytes(), (ROOT / "setup.cfg").read_bytes(), sys.prefix.encode(), str(ROOT).encode()]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
    inside = Path(sys.prefix) if sys.prefix != sys.base_prefix else Path(tempfile.gettempdir())
    folder = inside / f"label-{digest}"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder)
        (own,) = folder.glob("[Ll]ib/**/site-packages")
        _link(closure(), folder / "project")
        (own / "project.pth").write_text(f"{folder / 'project'}\n{ROOT}", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-compile"]
        command = [*pip, "--retries", "1", "--no-build-isolation", "--requirement", str(REQUIREMENTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if done.returncode and any(sign in said for sign in UNREACHABLE):
            pytest.skip("MONAI Label cannot be installed: no package index is reached")
        assert done.returncode == 0, said
        (folder / "complete").touch()
    return python


def _link(names: set[str], folder: Path) -> None:
    """Links to all that these distributions have put beside their metadata."""
    folder.mkdir()
    for name in names:
        one = distribution(name)
        tops = {file.parts[0] for file in one.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (folder / top).exists():
                (folder / top).symlink_to(one.locate_file(top))


class Server:
    """What a client sees of a server of MONAI Label."""

    def __init__(self, address: str, images: Path) -> None:
        self.address, self.images = address, images

    def ask(self, method, path, body=b"", kind="application/json", **headers):
        """The body and the content type of an answer."""
        request = urllib.request.Request(self.address + path, data=body or None, method=method, headers=headers)
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.read(), answer.headers["Content-Type"]

    def json(self, method, path, content=None):
        return json.loads(self.ask(method, path, b"" if content is None else json.dumps(content).encode())[0])

    def put_label(self, image, file):
        body = b'--x\r\nContent-Disposition: form-data; name="label"; filename="%s"\r\n\r\n' % file.name.encode()
        body += file.read_bytes() + b"\r\n--x--\r\n"
        return json.loads(
            self.ask("PUT", f"/datastore/label?image={image}", body, "multipart/form-data; boundary=x")[0]
        )

    def infer(self, model, image):
        """The markups and the bytes of the label map."""
        body, kind = self.ask("POST", f"/infer/{model}?image={image}")
        message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
        return json.loads(parts["params"].get_payload(decode=True)), parts["image"].get_payload(decode=True)

    def wait(self, path, status):
        """The task of that path once it has that status."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            task = self.json("GET", path)
            if task["status"] == status:
                return task
            assert task["status"] != "ERROR", task["details"]
            time.sleep(0.2)
        pytest.fail(f"{path} was never {status}: {task}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(words, port, images, **environment):
    """A server that these words start, once it answers."""
    log = images.parent / "server.log"
    own = {**os.environ, "HOME": str(images.parent), "OMP_NUM_THREADS": "1", **environment}
    own = {name: value for name, value in own.items() if name != "PYTHONPATH" or name in environment}
    with log.open("w") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, env=own, cwd=images.parent)
    started = Server(f"http://127.0.0.1:{port}", images)
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                started.json("GET", "/info/")
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.5)
        yield started
    finally:
        process.terminate()
        process.wait(60)
