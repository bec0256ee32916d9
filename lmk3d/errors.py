"""The one error a user's input can cause, and what helps to mend it."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["InputError", "did_you_mean"]

_LONGEST, _MOST_WORDS = 100, 2000


class InputError(ValueError):
    """Wrong input: one line that names the file or argument, what is wrong and what to do; the shell exits with 2."""


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """What to say behind an unknown word: the known one that is most like it, or something else where none is.

    >>> did_you_mean("sela", ["nasion", "sella"], "add it")
    "did you mean 'sella'?"
    """
    # Comparing is slow for long texts and many words; a typo is made in a short one.
    alike = [own for own in islice(known, _MOST_WORDS) if len(own) <= _LONGEST] if len(word) <= _LONGEST else []
    near = get_close_matches(word, alike, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else otherwise
