"""Reads a transform's file and prints where it takes four points: a process of its own, since damaged files kill ITK."""

from __future__ import annotations

import json
import sys

__all__ = ["main"]

# What is more is no linear transform; a damaged file asks for all there is.
_MOST_MEMORY = 4 << 30
_POINTS = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]


def main(path: str) -> None:
    """Print as JSON whether the transform is linear in three dimensions, and where the origin and unit vectors go."""
    import SimpleITK as sitk

    transform = sitk.ReadTransform(path)
    linear = transform.GetDimension() == 3 and transform.IsLinear()
    print(json.dumps([linear, [transform.TransformPoint(point) for point in _POINTS] if linear else []]))


if __name__ == "__main__":
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    main(sys.argv[1])
