"""The project's own virtual environment: made when it is not there, installed again when what it holds has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
STAMP = ENVIRONMENT / "lmk3d-installed.json"
OLDEST = (3, 10)


def script(name: str) -> Path:
    """Path of a program inside the environment, on any system."""
    return ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin") / (f"{name}.exe" if os.name == "nt" else name)


def prepare(extras: tuple[str, ...] = ()) -> None:
    """Make sure the environment holds this project, its pinned requirements and ``extras``; quick when it does already.

    Raises:
        SystemExit: if this Python is too old or pip fails; what pip prints is shown, warnings of its own do no harm.
    """
    if sys.version_info < OLDEST:
        sys.exit(f"Python {'.'.join(map(str, OLDEST))} or newer is needed, this is {sys.version.split()[0]}")
    digest = _digest()
    held = _read_stamp()
    if held.get("digest") == digest and set(extras) <= set(held.get("extras", [])):
        return
    if ENVIRONMENT.exists() and not _works():
        shutil.rmtree(ENVIRONMENT)
    if not ENVIRONMENT.exists():
        print(f"Making {ENVIRONMENT}", flush=True)
        venv.create(ENVIRONMENT, with_pip=True)
    extras = tuple(sorted({*extras, *held.get("extras", [])}))
    STAMP.unlink(missing_ok=True)
    # setuptools first and no build isolation: the build then needs nothing that constraints.txt does not name.
    _pip("setuptools")
    _pip("--no-build-isolation", "--editable", f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT))
    STAMP.write_text(json.dumps({"digest": digest, "extras": list(extras)}), encoding="utf-8")


def run(*command: str | Path) -> int:
    """Run a program in the project's folder, its output shown as it comes; returns its exit code."""
    print("$", *(str(part) for part in command), flush=True)
    return subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode


def _pip(*arguments: str) -> None:
    command = (script("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if code := run(*command, "--constraint", CONSTRAINTS, *arguments):
        sys.exit(f"pip ended with code {code}; see its message above, and whether this machine reaches a package index")


def _works() -> bool:
    try:
        tried = subprocess.run([str(script("python")), "-m", "pip", "--version"], capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


def _read_stamp() -> dict[str, Any]:
    try:
        held = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) and _works() else {}


def _digest() -> str:
    """Of everything that decides what is installed, and where from: an environment that was moved does not work."""
    parts = [CONSTRAINTS.read_bytes(), (ROOT / "setup.cfg").read_bytes(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
