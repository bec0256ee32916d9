"""Prints where a transform's file takes four points: a process of its own, since damaged files kill ITK."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]

# What is more is no linear transform; a damaged file asks for all there is.
_MOST_MEMORY = 4 << 30
_COUNTS = {
    "AffineTransform": 12,
    "CompositeTransform": 12,  # as a part of one: what ITK calls MatrixOffsetTransformBase
    "Euler3DTransform": 6,
    "ScaleSkewVersor3DTransform": 15,
    "ScaleTransform": 3,
    "ScaleVersor3DTransform": 9,
    "Similarity3DTransform": 7,
    "Transform": 0,  # the identity, and some old kinds, which have parameters
    "TranslationTransform": 3,
    "VersorRigid3DTransform": 6,
    "VersorTransform": 3,
}
_POINTS = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]


def main(path: str) -> None:
    """Print as JSON whether the transform is linear in three dimensions, and where the origin and unit vectors go.

    Raises:
        ValueError: if ITK takes it, but leaves out some of it or fills up what it lacks with what lies in memory.
    """
    import SimpleITK as sitk

    if not path.lower().endswith(".h5"):
        _check_text(Path(path).read_text(encoding="utf-8"))
    transform = sitk.ReadTransform(path)
    linear = transform.GetDimension() == 3 and transform.IsLinear()
    if linear and not _is_whole(transform):
        raise ValueError("too few or too many parameters")
    print(json.dumps([linear, [transform.TransformPoint(point) for point in _POINTS] if linear else []]))


def _check_text(text: str) -> None:
    """ITK reads the first of several transforms alone, and the identity where a line is missing."""
    lines = [line.strip() for line in text.splitlines()]
    kinds = [line for line in lines if line.startswith("Transform:")]
    composite = bool(kinds) and "CompositeTransform" in kinds[0]
    counts = {sum(line.startswith(name) for line in lines) for name in ("Parameters:", "FixedParameters:")}
    if counts != {len(kinds) - composite} or len(kinds) > 1 > composite:
        raise ValueError("some lines are missing, or too many")


def _is_whole(transform: Any) -> bool:
    """Whether a linear transform, or each part of one, has as many parameters as its kind needs."""
    import SimpleITK as sitk

    parts = [transform]
    if transform.GetName() == "CompositeTransform":
        several = sitk.CompositeTransform(transform)
        parts = [several.GetNthTransform(part) for part in range(several.GetNumberOfTransforms())]
    return all(_COUNTS.get(part.GetName()) == len(part.GetParameters()) for part in parts)


if __name__ == "__main__":
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    main(sys.argv[1])
