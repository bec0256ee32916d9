from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LARGEST_WHEEL = 30_000_000  # bytes: 25 MB of weights and a little code

pytestmark = pytest.mark.slow


def run(*command: str | Path, **options) -> str:
    """Output of a program that must succeed."""
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the tree, so that the tree itself gets no build folder."""
    pytest.importorskip("setuptools")
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "eval", "runs")
    for name in ("lmk3d", "bundles"):
        shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
    for name in ("setup.py", "setup.cfg", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    run(sys.executable, "-m", "pip", "wheel", tree, "--no-deps", "--no-build-isolation", "--wheel-dir", out)
    (path,) = out.glob("lmk3d-*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_every_module_and_every_file_of_the_bundles(names):
    for folder, prefix in (("lmk3d", "lmk3d"), ("bundles", "lmk3d/bundles")):
        listed = run("git", "ls-files", folder, cwd=ROOT).split() if (ROOT / ".git").exists() else []
        wanted = {prefix + name.removeprefix(folder) for name in listed if (ROOT / name).exists()}
        assert wanted <= names


def test_wheel_holds_nothing_else_and_is_small(names, wheel):
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lmk3d"}
    assert not [name for name in names if "__pycache__" in name or "checkpoint" in name]
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_wheel_alone_runs_the_shell_with_the_shipped_bundle(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import json, lmk3d; from lmk3d.inference import default_bundle;"
        "print(json.dumps([lmk3d.__file__, str(default_bundle())]))"
    )
    alone = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    package, bundle = json.loads(run(sys.executable, "-c", code, cwd=tmp_path, env=alone))
    assert Path(package) == tmp_path / "site" / "lmk3d" / "__init__.py"
    assert Path(bundle) == tmp_path / "site" / "lmk3d" / "bundles" / "cascade"
    demo = "import sys; from lmk3d.cli import main; sys.exit(main(['demo', '--device', 'cpu']))"
    assert "mean error" in run(sys.executable, "-c", demo, cwd=tmp_path, env=alone)
    assert (tmp_path / "lmk3d_demo" / "phantom.mrk.json").is_file()
