"""Several images at each place of one series, or of several kinds in one row: the stacks that they form."""

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
# Echo times of one echo may differ a little from slice to slice; those of two echoes differ by more.
_ECHO_JITTER = 1.1
# Of the many words of an image type, those that make it another image of the same place.
_COMPONENTS = {"MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}
_COMPONENTS |= {name: name for name in ("M", "P", "R", "I", "WATER", "FAT", "IN_PHASE", "OUT_PHASE", "OPP_PHASE")}


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
        return _by_kind(frames) or whole
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
            if 1 < len(groups) <= most and all(map(_is_one_kind, groups.values())):
                return dict(groups)
    return whole


def _is_one_kind(frames: Sequence[Frame]) -> bool:
    return _is_stack(frames) and not _by_kind(frames)


def _by_kind(frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """Images of several kinds in one row, by what differs; none where nothing does."""
    marks = [frame.marks for frame in frames]
    values = {tag: [mark.get(tag, "") for mark in marks] for tag in ("StackID", "ComplexImageComponent")}
    values |= {tag: _echoes([mark.get(tag, "") for mark in marks]) for tag in ("EffectiveEchoTime", "EchoTime")}
    values["ConvolutionKernel"] = [mark.get("ConvolutionKernel", "") for mark in marks]
    values |= {tag: _image_kinds([mark.get(tag, "") for mark in marks]) for tag in ("ImageType", "FrameType")}
    # Where some images do not say it, or each says another thing, nothing is known of stacks.
    tags = [tag for tag, own in values.items() if all(own) and 1 < len(set(own)) < len(own)]
    kinds: dict[str, list[Frame]] = defaultdict(list)
    for row, frame in enumerate(frames if tags else []):
        kinds[",".join(f"{tag}={values[tag][row]}" for tag in tags)].append(frame)
    return dict(kinds)


def _image_kinds(types: list[str]) -> list[str]:
    """Of each image type what makes it another image: a localizer, or else its component; "" where it does not say."""
    words = [set(one.upper().split("/")) for one in types]
    if 0 < sum("LOCALIZER" in own for own in words) < len(words):
        return ["LOCALIZER" if "LOCALIZER" in own else "other" for own in words]
    return ["/".join(sorted({_COMPONENTS[word] for word in own if word in _COMPONENTS})) for own in words]


def _echoes(times: list[str]) -> list[str]:
    """Each echo time as the shortest of its echo; nothing where one is no number."""
    try:
        known = sorted({float(time): time for time in times}.items())
    except ValueError:
        return [""] * len(times)
    shortest: dict[float, str] = {}
    last, name = 0.0, ""
    for number, time in known:
        name = time if not name or number > last * _ECHO_JITTER else name
        shortest[number], last = name, number
    return [shortest[float(time)] for time in times]


def _is_stack(frames: Sequence[Frame]) -> bool:
    single = list({copy_key(frame): frame for frame in frames}.values())
    path: Path = frames[0].entry.path
    try:
        check_alike(single, path)
        order_slices(single, path)
    except InputError:
        return False
    return True
