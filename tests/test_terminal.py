from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest

import lmk3d
from lmk3d.terminal import printable, say

# The bar of a batch moves the cursor, and what a training prints holds no text of a file.
_OTHERS = {"terminal.py", "cli/progress.py", "training.py", "training"}


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
        inside = path.relative_to(package)
        assert not used or {inside.as_posix(), inside.parts[0]} & _OTHERS, (
            f"{path} prints in lines {used}; use lmk3d.terminal.say"
        )
