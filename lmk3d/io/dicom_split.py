"""Several images at each place of one series: the stacks that they form."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

from lmk3d.errors import InputError
from lmk3d.io.dicom_marks import APART, copy_key, marked, spots_of, varying
from lmk3d.io.dicom_stack import check_alike, order_slices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lmk3d.io.dicom_frames import Frame

__all__ = ["split_frames"]

# Stacks in more directions than a localizer has are single images, which need no name each.
_MOST_PLANES = 3
# So many tags at once tell diffusion directions, echoes and phases apart; each further one costs time.
_MOST_TAGS = 3


def split_frames(frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """The slices of a series as the stacks that they form, by what tells these apart.

    Args:
        frames: all with a position.
    Returns:
        For each stack its name, such as "TemporalPositionIndex=2" or "plane=axial,EchoTime=4.6"; a series that is one
        stack, or can't be told apart by at most three tags, comes back whole under "".
    """
    whole = {"": list(frames)}
    if _is_stack(frames):
        return whole
    marks, spots = marked(frames), spots_of(frames)
    sets = {tuple(mark.get(tag, "") for tag in APART) for mark in marks}
    if len({mark["plane"] for mark in marks}) > _MOST_PLANES and len(spots) == len(frames):
        return whole
    most = max(len({copy_key(frames[row]) for row in rows}) for rows in spots) * len(sets)
    tags = varying(marks, spots)
    for count in range(1, _MOST_TAGS + 1):
        for chosen in combinations(tags, count):
            groups: dict[str, list[Frame]] = defaultdict(list)
            for frame, mark in zip(frames, marks, strict=True):
                groups[",".join(f"{tag}={mark.get(tag, '')}" for tag in chosen)].append(frame)
            if 1 < len(groups) <= most and all(_is_stack(group) for group in groups.values()):
                return dict(groups)
    return whole


def _is_stack(frames: Sequence[Frame]) -> bool:
    single = list({copy_key(frame): frame for frame in frames}.values())
    path: Path = frames[0].entry.path
    try:
        check_alike(single, path)
        order_slices(single, path)
    except InputError:
        return False
    return True
