"""What a check found, a line each; the same mistake in many cases is one line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["LISTED", "Finding", "some", "summed_up"]

LISTED = 5
"""How many of many names are told."""

_NUMBER = re.compile(r"[-+]?\d[\d.]*(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Finding:
    """One thing to say.

    Args:
        text: what; begins with the file's name where there is one.
        section: "training", "validation" or "test"; "" where it is not about one case.
        case: its name.
        file: the file's name in the text, which differs from case to case.
        kind: what findings of the same mistake share; their texts without file and numbers when "".
        alike: so many cases with the same mistake are told in one line.
    """

    text: str
    section: str = ""
    case: str = ""
    file: str = ""
    kind: str = ""
    alike: int = 3

    def __str__(self) -> str:
        return f"{self.section}, case {self.case}: {self.text}" if self.case else self.text

    @cached_property
    def key(self) -> str:
        """The same for the same mistake."""
        if not self.case:
            return str(self)
        return self.kind or _NUMBER.sub("#", self.text.replace(self.file, "FILE") if self.file else self.text)


def summed_up(findings: Sequence[Finding], total: int) -> list[str]:
    """The findings as lines, each where its mistake was made first.

    Args:
        findings: in order.
        total: how many cases the data set has.
    """
    groups: dict[str, list[Finding]] = {}
    for own in findings:
        groups.setdefault(own.key, []).append(own)
    lines = []
    told = {key: dict.fromkeys((one.section, one.case) for one in group) for key, group in groups.items()}
    for own in findings:
        cases = told[own.key]
        if len(cases) < own.alike:
            lines.append(str(own))
        elif own is groups[own.key][0]:
            named = f"all {total} cases" if len(cases) == total else f"{len(cases)} of {total} cases"
            lines.append(f"in {named} ({some(case for _, case in cases)}): for example {own.text}")
    return lines


def some(names: Iterable[str], most: int = LISTED) -> str:
    """The first few of many names."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
