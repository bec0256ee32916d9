"""What the headers of DICOM images say that lie at one place of a series: the tags in which they differ."""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmk3d.io.dicom_frames import Frame

__all__ = [
    "APART",
    "MARKED",
    "copy_key",
    "differences",
    "first_item",
    "marked",
    "marks_of",
    "place_of",
    "spots_of",
    "varying",
]

APART = ("plane", "size", "StackID")
"""What makes a stack of its own even where no two images lie at one place."""

# Cosines of directions closer than this are rounding.
_SAME = 1e-2
# Places closer than this, in mm, are one.
_STEP_MM = 1e-3
_NAMED = 4
# Of single images by nature: named as the difference only where nothing else is.
_WEAK = ("DimensionIndexValues", "AcquisitionTime", "ContentTime", "InstanceNumber")
# What tells images apart that lie at one place: a path through sequences to a tag, which names the difference; the
# likeliest first. A path of one is looked up in the data set, a longer one in the frame's functional groups.
_MARKS: tuple[tuple[str, ...], ...] = (
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("TemporalPositionIdentifier",),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
    ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("TriggerTime",),
    ("FrameReferenceTime",),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("EchoTime",),
    ("EchoNumbers",),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("DiffusionBValue",),
    ("MRDiffusionSequence", "DiffusionDirectionality"),
    ("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
    ("DiffusionGradientOrientation",),
    ("SequenceName",),
    ("MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("ComplexImageComponent",),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("PETFrameTypeSequence", "FrameType"),
    ("XRay3DFrameTypeSequence", "FrameType"),
    ("ImageType",),
    ("MRModifierSequence", "InversionTimes"),
    ("InversionTime",),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("FlipAngle",),
    ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    ("RepetitionTime",),
    ("CTXRayDetailsSequence", "KVP"),
    ("KVP",),
    ("CTReconstructionSequence", "ConvolutionKernel"),
    ("ConvolutionKernel",),
    ("AcquisitionNumber",),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("FrameContentSequence", "DimensionIndexValues"),
    ("AcquisitionTime",),
    ("ContentTime",),
    ("InstanceNumber",),
)

MARKED = tuple(path[0] for path in _MARKS if len(path) == 1)
"""The tags of a data set that ``marks_of`` reads, beside those of its functional groups."""


def marks_of(places: list[Any]) -> dict[str, str]:
    """What the header says of the tags that images at one place differ in, by their names.

    Args:
        places: data sets of functional groups, and the file's own as the last.
    """
    found: dict[str, str] = {}
    for path in _MARKS:
        for place in places[-1:] if len(path) == 1 else places[:-1]:
            group = reduce(first_item, path[:-1], place)
            value = None if group is None else group.get(path[-1])
            if value is not None and value != "":
                found.setdefault(path[-1], plain_text(value))
    return found


def plain_text(value: Any) -> str:
    """A value as a user can type it: no backslashes, no control characters, numbers without what rounding adds."""
    if isinstance(value, str):
        return "".join(one if one.isprintable() else "?" for one in value)
    if isinstance(value, (int, float)):
        return f"{float(value):.10g}"
    return "/".join(plain_text(one) for one in value) if hasattr(value, "__iter__") else plain_text(str(value))


def differences(frames: Sequence[Frame]) -> str:
    """What images at one place differ in, as a list of tags; "" where no two lie at one, or nothing known differs."""
    marks, spots = marked(frames), [rows for rows in spots_of(frames) if len(rows) > 1]
    tags = varying(marks, spots)
    strong = [tag for tag in tags if tag not in _WEAK]
    return ", ".join((strong or tags)[:_NAMED])


def copy_key(frame: Frame) -> tuple[object, ...]:
    """The same for an image and its copy in another file; without a UID nothing is a copy."""
    return frame.uid or frame.entry, frame.index, place_of(frame), tuple(sorted(frame.marks.items()))


def place_of(frame: Frame) -> tuple[float, ...]:
    """The same for all images at one place and in one direction."""
    place = np.round(np.asarray(frame.position) / _STEP_MM).tolist()
    return *place, *np.round(np.asarray(frame.orientation).ravel(), 2).tolist()


def marked(frames: Sequence[Frame]) -> list[dict[str, str]]:
    """The marks of each image, its plane and its size among them."""
    planes: list[tuple[np.ndarray, str]] = []
    found = []
    for frame in frames:
        axes = np.asarray(frame.orientation)
        name = next((name for known, name in planes if np.abs(known - axes).max() < _SAME), "")
        if not name:
            kind = ("sagittal", "coronal", "axial")[int(np.abs(np.cross(axes[0], axes[1])).argmax())]
            same = sum(known.partition(" ")[0] == kind for _, known in planes)
            name = kind if not same else f"{kind} {same + 1}"
            planes.append((axes, name))
        found.append({"plane": name, "size": f"{frame.shape[1]}x{frame.shape[0]}", **frame.marks})
    return found


def spots_of(frames: Sequence[Frame]) -> list[list[int]]:
    """The rows of the images at each place."""
    spots = defaultdict(list)
    for row, frame in enumerate(frames):
        spots[place_of(frame)].append(row)
    return list(spots.values())


def varying(marks: list[dict[str, str]], spots: list[list[int]]) -> list[str]:
    """The marks in which images at one place differ, or whole stacks do; of such that divide alike the first.

    Args:
        marks: of each image.
        spots: the rows of the images at each place.
    """
    found: dict[tuple[int, ...], str] = {}
    for tag in dict.fromkeys((*APART, *(path[-1] for path in _MARKS))):
        values = [mark.get(tag, "") for mark in marks]
        varies = any(len({values[row] for row in rows}) > 1 for rows in spots)
        if varies or (tag in APART and len(set(values)) > 1):
            numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
            found.setdefault(tuple(numbers[value] for value in values), tag)
    return list(found.values())


def first_item(dataset: Any, sequence: str) -> Any:
    """The first item of a sequence; None where there is none."""
    items = None if dataset is None else dataset.get(sequence)
    return items[0] if items else None
