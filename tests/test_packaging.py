from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

utils = pytest.importorskip("packaging.utils")

ROOT = Path(__file__).parent.parent
LARGEST_WHEEL = 30_000_000  # bytes: 25 MB of weights and a little code

slow = pytest.mark.slow


def run(*command: str | Path, **options) -> str:
    """Output of a program that must succeed."""
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What only an extra brings: which modules of the package may import it, each where it is used.
ONLY_WITH = {
    "docs": (),
    "label": ("monailabel", "fastapi"),
    "onnx": ("onnx", "onnxruntime"),
    "ray": ("ray",),
    "sr": ("highdicom",),
    "tune": ("optuna",),
}
# What a user may have and nothing here asks for: a table for pandas is of use to those alone who work with it.
NEVER_REQUIRED = {"pandas"}


def imported() -> dict[str, str]:
    """Every foreign module that the package needs anywhere, with one of the files that imports it."""
    found = {}
    for path in sorted((ROOT / "lmk3d").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            found |= {name.partition(".")[0]: path.relative_to(ROOT).as_posix() for name in names}
    known = {*sys.stdlib_module_names, "lmk3d", *NEVER_REQUIRED}
    return {name: path for name, path in found.items() if name not in known}


def test_everything_imported_is_required_by_the_package_or_by_an_extra(closure):
    """What the documentation installs is enough; the full try, in an environment of its own, is in docs/cli.rst."""
    owners = {name: {utils.canonicalize_name(one) for one in some} for name, some in packages_distributions().items()}
    extra = {module: name for name, modules in ONLY_WITH.items() for module in modules}
    held = {name: closure(*([name] if name else [])) for name in {"", *extra.values()} - {"label"}}
    for module, path in imported().items():
        if extra.get(module) != "label":
            assert owners[module] & held[extra.get(module, "")], f"{path} imports {module}; require it in setup.cfg"
            assert module not in extra or not owners[module] & held[""], f"{module} comes without {extra[module]}, too"


def test_extras_are_those_that_are_tried():
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert set(setup["options.extras_require"]) == {*ONLY_WITH, "test", "dev"}


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


@slow
def test_wheel_holds_every_module_and_every_file_of_the_bundles(names):
    for folder, prefix in (("lmk3d", "lmk3d"), ("bundles", "lmk3d/bundles")):
        listed = run("git", "ls-files", folder, cwd=ROOT).split() if (ROOT / ".git").exists() else []
        wanted = {prefix + name.removeprefix(folder) for name in listed if (ROOT / name).exists()}
        assert wanted <= names


@slow
def test_wheel_holds_nothing_else_and_is_small(names, wheel):
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lmk3d"}
    assert not [name for name in names if "__pycache__" in name or ".ipynb_checkpoints" in name]
    assert wheel.stat().st_size < LARGEST_WHEEL


@slow
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
