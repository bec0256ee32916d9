"""What the commands' arguments may be: durations, formats, devices, bundles."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, NoReturn

from lmk3d.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "FORMATS",
    "Parser",
    "add_coverage_argument",
    "add_device_argument",
    "add_trust_argument",
    "bundle_folder",
    "distances_mm",
    "duration_s",
    "formats",
    "nearest",
    "override",
    "positive",
    "search_range",
    "share",
    "use_device",
]

FORMATS = ("mrk.json", "fcsv", "csv", "json", "sr")
"""What ``predict`` can write; "sr" is a DICOM structured report."""

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0}


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are ``InputError`` like all others: one line, no usage before it."""

    def __init__(self, **kwargs: Any) -> None:
        # argparse itself makes the commands' parsers, hence kwargs. A short form would change its meaning once a
        # second flag begins alike.
        super().__init__(**{**kwargs, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has to say."""
        raise InputError(f"{message}; see {self.prog} --help")


def nearest(word: str, valid: Iterable[str]) -> str:
    """Words that name the valid word most like ``word``: ", did you mean 'predict'?"; nothing where none is."""
    said = did_you_mean(word, valid, "")
    return f", {said}" if said else ""


def duration_s(text: str) -> float:
    """Seconds of "90s", "30m", "2h" or "1h30m"."""
    if not re.fullmatch(r"(\d+(\.\d+)?[hms])+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write for example 90s, 30m, 2h or 1h30m")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time at all; give more")
    return seconds


def formats(text: str) -> tuple[str, ...]:
    """The endings of the formats of points in a comma-separated list, each once."""
    names = [name.strip().lstrip(".") for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(
                f"unknown format {name!r}{nearest(name, FORMATS)}; use {', '.join(FORMATS)}"
            )
    return tuple(dict.fromkeys("sr.dcm" if name == "sr" else name for name in names))


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def share(text: str) -> float:
    """A number between 0 and 1, neither of the two."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1; write for example 0.9 for 90 %")
    return number


def distances_mm(text: str) -> tuple[float, ...]:
    """Distances above 0 in a comma-separated list, in order."""
    return tuple(sorted({positive(number) for number in text.split(",")}))


def override(text: str) -> tuple[str, Any]:
    """KEY=VALUE of a bundle's configuration; the value is JSON, and what is no JSON is taken as text."""
    import json

    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise argparse.ArgumentTypeError(f"{text!r} sets nothing; write KEY=VALUE")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), value


def search_range(text: str) -> tuple[str, float, float, bool]:
    """KEY=LOW:HIGH or KEY=LOW:HIGH:log: an entry of a configuration, between which numbers it lies, and how."""
    key, _, span = text.partition("=")
    low, _, rest = span.partition(":")
    high, colon, kind = rest.partition(":")
    if not key.strip() or (colon and kind != "log"):
        raise argparse.ArgumentTypeError(f"{text!r} is no range; write KEY=LOW:HIGH or KEY=LOW:HIGH:log")
    least, most = positive(low), positive(high)
    if not least < most:
        raise argparse.ArgumentTypeError(f"{text!r}: {low} is not below {high}")
    return key.strip(), least, most, bool(colon)


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add --trust."""
    parser.add_argument(
        "--trust", action="store_true", help="run a bundle's train.json also where it holds code of others"
    )


def add_coverage_argument(parser: argparse.ArgumentParser) -> None:
    """Add --coverage."""
    parser.add_argument(
        "--coverage",
        type=share,
        default=0.9,
        metavar="SHARE",
        help="share of new patients whose true point lies within the radius round each point (default: 0.9)",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add where to compute; ``use_device`` makes a device of it."""
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 (default: cuda where there is one, else cpu)"
    )


def use_device(text: str) -> str:
    """The device to compute on: what ``--device`` says, or for "auto" a CUDA device when there is one, else the CPU.

    Raises:
        InputError: if there is no such device.
    """
    if text == "cpu":
        return text
    if not re.fullmatch(r"auto|mps|cuda(:\d+)?", text):
        raise InputError(
            f"unknown device {text!r}{nearest(text, ('auto', 'cpu', 'cuda', 'mps'))}; use cpu, cuda or cuda:1"
        )
    from lmk3d.weights import find_device

    return str(find_device(text))


def bundle_folder(text: str) -> Path:
    """The folder of a bundle; see ``lmk3d.components.find_bundle``, which only those commands import that need it."""
    from lmk3d.components import find_bundle

    return find_bundle(text)
