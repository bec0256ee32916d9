"""A server of MONAI Label in an environment of its own: its NumPy 1.26 and pydicom 2 are not those of the project."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
REQUIREMENTS = ROOT / "tools" / "label-requirements.txt"
UNREACHABLE = ("from versions: none", "ConnectionError", "Temporary failure in name resolution", "Connection refused")


@pytest.fixture(scope="session")
def label_python() -> Path:
    """Python of an environment with MONAI Label before the project's own packages; made once, a minute.

    Skips where it cannot be made: on a Python that NumPy 1.26 does not know, or without a package index.
    """
    if not (3, 10) <= sys.version_info[:2] <= (3, 11):
        pytest.skip("MONAI Label 0.8.5 needs Python 3.10 or 3.11: distutils, NumPy 1.26")
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.prefix.encode()).hexdigest()[:12]
    inside = Path(sys.prefix) if sys.prefix != sys.base_prefix else Path(tempfile.gettempdir())
    folder = inside / f"label-{digest}"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder)
        (own,) = folder.glob("[Ll]ib/**/site-packages")
        lines = [sysconfig.get_path("purelib"), str(ROOT)]
        (own / "project.pth").write_text("\n".join(lines), encoding="utf-8")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--no-deps",
            "--no-compile",
            "--retries",
            "1",
        ]
        command = [*map(str, pip), "--no-build-isolation", "--requirement", str(REQUIREMENTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if done.returncode and any(sign in said for sign in UNREACHABLE):
            pytest.skip("MONAI Label cannot be installed: no package index is reached")
        assert done.returncode == 0, said
        (folder / "complete").touch()
    return python
