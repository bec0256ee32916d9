from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The module, at work on a project of its own, with the programs it would start."""
    spec = importlib.util.spec_from_file_location("environment", TOOLS / "environment.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = x\n", encoding="utf-8")
    (tmp_path / "constraints.txt").write_text("numpy==2.0.0\n", encoding="utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(module, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "stamp.json")
    module.started, module.code = [], 0

    def run(*command):
        module.started.append([str(part) for part in command])
        return module.code

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "_works", lambda: True)
    monkeypatch.setattr(module.venv, "create", lambda folder, with_pip: folder.mkdir())
    return module


def installed(environment) -> list[str]:
    """What pip was last asked for, and forget it."""
    last = environment.started[-1] if environment.started else []
    environment.started.clear()
    return last


def test_first_run_makes_the_environment_and_installs_the_project(environment, tmp_path):
    environment.prepare(("test",))
    assert (tmp_path / ".venv").is_dir()
    command = installed(environment)
    assert command[-2:] == ["--editable", f"{tmp_path}[test]"]
    assert command[command.index("--constraint") + 1] == str(tmp_path / "constraints.txt")


def test_second_run_installs_nothing(environment):
    environment.prepare(("dev", "test"))
    installed(environment)
    environment.prepare(("test",))
    assert installed(environment) == []


def test_more_extras_are_added_to_those_that_are_there(environment, tmp_path):
    environment.prepare(("test",))
    environment.prepare(("dev",))
    assert installed(environment)[-1] == f"{tmp_path}[dev,test]"


@pytest.mark.parametrize("name", ["setup.cfg", "constraints.txt"])
def test_a_change_of_what_is_asked_for_installs_again(name, environment, tmp_path):
    environment.prepare()
    installed(environment)
    (tmp_path / name).write_text("changed", encoding="utf-8")
    environment.prepare()
    assert installed(environment)[-2:] == ["--editable", str(tmp_path)]


def test_an_environment_that_does_not_work_is_made_anew(environment, tmp_path, monkeypatch):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "old").touch()
    monkeypatch.setattr(environment, "_works", lambda: False)
    environment.prepare()
    assert not (tmp_path / ".venv" / "old").exists()


def test_failure_of_pip_ends_the_run_and_is_not_taken_for_done(environment):
    environment.code = 1
    with pytest.raises(SystemExit, match="pip ended with code 1"):
        environment.prepare()
    environment.code = 0
    environment.prepare()
    assert installed(environment)


def test_python_that_is_too_old_is_refused(environment, monkeypatch):
    monkeypatch.setattr(environment, "OLDEST", (9, 9))
    with pytest.raises(SystemExit, match=r"Python 9\.9 or newer is needed, this is 3"):
        environment.prepare()


def test_constraints_pin_everything_the_project_names():
    pinned = {
        line.partition("==")[0]
        for line in (TOOLS / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    wanted = {"torch", "monai", "numpy", "nibabel", "pytest", "ruff", "mypy", "setuptools", "pydicom", "simpleitk"}
    assert wanted <= pinned
