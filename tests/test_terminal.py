from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest

import lmk3d
from lmk3d.terminal import StatusLine, bar, counted, duration, printable, say

# The one way itself, and a process of its own whose answer is JSON.
_OTHERS = {"terminal.py", "io/transform_reader.py"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("\u202egnp\u2069\u2028", r"\u202egnp\u2069\u2028"),
        ("\udcff.nii", r"\udcff.nii"),
        ("Ä 日本 \U0001f600", "Ä 日本 \U0001f600"),
        (Path("a\nb"), r"a\nb"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert printable(text) == shown
    shown.encode()


def test_each_argument_is_one_line():
    stream = io.StringIO()
    say("a\nb", 3, file=stream)
    say(file=stream)
    say("c", end="", file=stream)
    assert stream.getvalue() == "a\\nb\n3\nc"


def test_nothing_is_printed_another_way():
    package = Path(lmk3d.__file__).parent
    for path in package.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        used = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        inside = path.relative_to(package).as_posix()
        assert not used or inside in _OTHERS, f"{path} prints in lines {used}; use lmk3d.terminal.say"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_text_takes_the_place_of_the_last_and_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "6")
    line = StatusLine(terminal := Terminal())
    line.show("epoch 1")
    line.show("two")
    line.clear()
    assert terminal.getvalue() == "\r\033[Kepoch\r\033[Ktwo\r\033[K"


def test_nothing_is_written_into_a_file():
    line = StatusLine(file := io.StringIO())
    line.show("epoch 1")
    line.clear()
    assert file.getvalue() == ""


@pytest.mark.parametrize(("done", "full"), [(-1.0, 0), (0.0, 0), (0.5, 12), (1.0, 24), (2.0, 24)])
def test_a_bar_is_filled_as_far_as_it_is_done(done, full):
    assert bar(done) == f"[{'#' * full}{'.' * (24 - full)}]"


def test_times_are_as_one_reads_them():
    assert [duration(seconds) for seconds in (0.04, 59.9, 60, 3599, 7300)] == [
        "0.0 s", "59.9 s", "1 min 0 s", "59 min 59 s", "2 h 1 min",
    ]  # fmt: skip


def test_one_is_singular():
    assert [counted(count, "case") for count in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
