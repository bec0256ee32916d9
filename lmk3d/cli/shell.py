"""The entry point: finds the command, runs it, and turns every failure into one line and an exit code."""

from __future__ import annotations

import argparse
import atexit
import io
import logging
import os
import re
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from lmk3d.cli import bundle, demo, files, label, learn, look, measure, predict, register
from lmk3d.cli.options import Parser, nearest
from lmk3d.errors import InputError
from lmk3d.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BUG", "INTERRUPTED", "WRONG_INPUT", "main", "program"]

BUG = 1
WRONG_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the shell.

    Args:
        argv: the words after ``lmk3d``; those of this process when None.
    Returns:
        The exit code: 0 done, 2 wrong input, 3 done but not all points are trusted, 130 interrupted, 1 a bug of this
        package. Whatever the failure, stderr gets one line; with ``--debug`` the traceback goes before it.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"]  # anywhere, also before the command
    debug = len(words) < len(given)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter of a name shows a question mark
            stream.reconfigure(errors="replace")
    try:
        code = _run(words, debug=debug)
        sys.stdout.flush()  # here, where a closed pipe or a full disk is still caught
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            import traceback

            say(*traceback.format_exc().split("\n"), file=sys.stderr)
        return _fail(error)
    return code


def program() -> NoReturn:
    """The shell as a program of its own: ``main``, and an end at once.

    Taking torch's million objects apart one by one is a twentieth of a prediction's time, and frees what the system
    takes back anyway. What asked to run at the end still runs.
    """
    code = main()
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # a pipe that is closed by now: main has told, if there was anything to tell
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _run(words: list[str], *, debug: bool) -> int:
    parser, commands = _parsers()
    if any("\0" in word for word in words):
        raise InputError("an argument has a NUL character, which no file's name has; remove it")
    if words and not words[0].startswith("-") and words[0] not in commands:
        raise InputError(f"unknown command {words[0]!r}{nearest(words[0], commands)}; lmk3d --help lists the commands")
    try:
        arguments, rest = parser.parse_known_args(words)
    except SystemExit as done:  # --help; errors do not come this way
        return int(done.code or 0)
    if rest:
        raise _unknown(rest[0], commands.get(arguments.command, parser))
    if arguments.version:
        return _print_version()
    if arguments.command is None:
        parser.print_help()
        return 0
    with warnings.catch_warnings():
        if not debug:  # what libraries tell their callers is of no use to a reader of the terminal
            warnings.simplefilter("ignore")
            if not logging.root.handlers:  # with none at all, logging prints errors that ours will repeat
                logging.root.addHandler(logging.NullHandler())
        return int(arguments.run(argparse.Namespace(**vars(arguments), debug=debug)))


def _unknown(word: str, parser: argparse.ArgumentParser) -> InputError:
    if not word.startswith("-"):
        return InputError(f"one argument too many: {word!r}; see {parser.prog} --help")
    near = nearest(word, re.findall(r"--[a-z]+", parser.format_usage()))
    return InputError(f"unknown argument {word!r}{near}; see {parser.prog} --help")


def _print_version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        say(f"lmk3d {version('lmk3d')}")
    except PackageNotFoundError:
        say("lmk3d, run from a folder that pip did not install")
    return 0


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = Parser(
        prog="lmk3d",
        description="Anatomical landmarks in 3D scans and radiographs. Not a medical device.",
        epilog="lmk3d COMMAND --help tells more about each; with --debug a failure shows its traceback.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for room in (demo, predict, look, learn, register, measure, files, label, bundle):
        room.add_commands(subparsers)
    return parser, dict(subparsers.choices)


def _fail(error: BaseException) -> int:
    """Print the one line of a failure; its exit code."""
    if isinstance(error, BrokenPipeError):  # the reader, say ``head``, has seen enough; Python's own recipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BUG
    code = BUG
    if isinstance(error, KeyboardInterrupt):
        code, line = INTERRUPTED, f"lmk3d: {str(error) or 'interrupted; no half-written file is left'}"
    elif (text := wrong_input(error)) is not None:
        code, line = WRONG_INPUT, f"lmk3d: error: {text}"
    else:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        line = f"lmk3d: error: {text}; this looks like a bug: run again with --debug and report what it prints"
    say(line, file=sys.stderr)
    return code


def wrong_input(error: BaseException) -> str | None:
    """The one line that tells a user what to change, or None where the failure is none of theirs."""
    text: str | None = None
    if isinstance(error, InputError):
        text = str(error)
    elif isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        text = f"{named}{error.strerror or error}; check the path, its permissions and the space left on the disk"
    elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        text = f"not enough memory ({error}); close other programs, or use a machine with more"
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "lmk3d").startswith("lmk3d"):
        text = f"the package {error.name} is not installed; run pip install {error.name}"
    elif isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # pathlib's, before Python 3.13
        text = f"{error}; remove the link, or give the file itself"
    return None if text is None else " ".join(text.split())
