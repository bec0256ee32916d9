from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from lmk3d.cli import main, predict
from lmk3d.cli.shell import wrong_input
from lmk3d.errors import InputError

ROOT = Path(__file__).parent.parent.parent
COMMANDS = ("demo", "predict", "train", "evaluate", "register", "measure", "convert", "check", "label", "bundle")


def fails_with(capsys: pytest.CaptureFixture[str], words: list[str], code: int = 2) -> str:
    """The one line on stderr that ``lmk3d`` ends with."""
    assert main(words) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


def raising(error: BaseException):
    def run(_arguments):
        raise error

    return run


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_is_printed_and_is_no_failure(words, capsys):
    assert main(words) == 0
    assert "usage: lmk3d" in capsys.readouterr().out


def test_no_words_at_all_give_the_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from lmk3d.cli import main; main(['--help']); main(['predict', '--help']);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "monai", "nibabel", "itk", "scipy", "matplotlib"} & set(done.stderr.split())


def test_version_is_one_line(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lmk3d")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["predcit", "x"], "unknown command 'predcit', did you mean 'predict'?; lmk3d --help lists the commands"),
        (
            ["predict", "x", "--fromat", "csv"],
            "unknown argument '--fromat', did you mean '--format'?; see lmk3d predict",
        ),
        (["--verbose"], "unknown argument '--verbose'"),
        (["predict"], "the following arguments are required: INPUT; see lmk3d predict --help"),
        (["predict", "x", "--form", "csv"], "unknown argument '--form', did you mean '--format'?"),
        (["convert", "a.csv", "b.csv", "c.csv"], "one argument too many: 'c.csv'; see lmk3d convert --help"),
        (["train", "d.json"], "the following arguments are required: --output"),
        (["train", "d.json", "--output", "o", "--budget", "30"], "'30' is no duration; write for example 90s, 30m"),
    ],
)
def test_wrong_words_end_in_one_line_and_code_2(words, line, capsys):
    err = fails_with(capsys, words)
    assert err.startswith("lmk3d: error: ")
    assert line in err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a.nii: is\ncorrupt; copy it again"), 2, "lmk3d: error: a.nii: is corrupt; copy it again\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.nii"), 2, "lmk3d: error: a.nii: No such file; check"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "lmk3d: error: No space left on device; check the path"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 2, "lmk3d: error: out: Permission denied; check"),
        (MemoryError("64 GiB"), 2, "lmk3d: error: not enough memory (64 GiB)"),
        (
            ModuleNotFoundError("no", name="itk"),
            2,
            "lmk3d: error: the package itk is not installed; run pip install itk",
        ),
        (KeyboardInterrupt(), 130, "lmk3d: interrupted; no half-written file is left\n"),
        (KeyboardInterrupt("stopped; resume it"), 130, "lmk3d: stopped; resume it\n"),
        (KeyError("x"), 1, "lmk3d: error: KeyError: 'x'; this looks like a bug: run again with --debug"),
    ],
)
def test_every_failure_is_one_line_with_its_code(error, code, line, capsys, monkeypatch):
    monkeypatch.setattr(predict, "_predict", raising(error))
    assert fails_with(capsys, ["predict", "x"], code).startswith(line)


def test_what_libraries_log_and_warn_does_not_reach_the_terminal(capsys, monkeypatch):
    def run(_arguments):
        warnings.warn("this API will change", stacklevel=1)
        logging.getLogger("ignite.engine").error("Engine run is terminating due to exception")
        raise InputError("a.nii: is corrupt")

    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(predict, "_predict", run)
    assert fails_with(capsys, ["predict", "x"]) == "lmk3d: error: a.nii: is corrupt\n"


@pytest.mark.parametrize("words", [["--debug", "predict", "x"], ["predict", "x", "--debug"]])
def test_debug_shows_the_traceback_before_the_line(words, capsys, monkeypatch):
    monkeypatch.setattr(predict, "_predict", raising(InputError("a.nii: is corrupt")))
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("lmk3d: error: a.nii: is corrupt\n")


def test_memory_of_a_gpu_counts_as_memory():
    error = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory.\nTried to allocate")
    line = wrong_input(error)
    assert line is not None
    assert line.startswith("not enough memory (CUDA out of memory. Tried to allocate); close other programs")


def test_own_missing_module_is_a_bug_and_not_the_users():
    assert wrong_input(ModuleNotFoundError("no", name="lmk3d.nowhere")) is None


@pytest.mark.skipif(os.name == "nt", reason="a pipe that closes early is a matter of POSIX")
def test_a_reader_that_stops_early_gets_no_complaint():
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from lmk3d.cli import main; sys.exit(main(['--version']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_terminal_without_the_letters_of_a_name_still_gets_the_line():
    code = "import sys; from lmk3d.cli import main; sys.exit(main(['convert', '\\u0142uk.csv', 'b.csv']))"
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=ascii_only)
    assert (done.returncode, done.stderr) == (2, "lmk3d: error: ?uk.csv: no such file; check the path\n")


def test_the_package_itself_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "lmk3d", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout[:6]) == (0, "lmk3d ")
    assert "-m lmk3d" not in done.stderr


def test_the_program_ends_at_once_and_yet_runs_what_asked_to_run_at_the_end(tmp_path):
    code = (
        "import atexit, sys\n"
        "from lmk3d.cli import program\n"
        "atexit.register(lambda: print('at the end'))\n"
        "sys.argv = ['lmk3d', *{words}]\n"
        "program()\n"
        "print('never')\n"
    )
    for words, status, out in ((["--version"], 0, "lmk3d"), (["predict", str(tmp_path / "none.nii")], 2, "")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(words=words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == status
        assert done.stdout.startswith(out)
        assert done.stdout.endswith("at the end\n")
