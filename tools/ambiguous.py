"""How often a trained ``heatmap_coordinate`` bundle takes a neighbour's peak, with and without the product.

    python tools/ambiguous.py BUNDLE --count 20

The corners of 17 vertebrae of drawn spines look alike; a point that lies nearer to the same corner of another vertebra
than to its own is a wrong peak. Both rates come from the same weights: once the coordinates' Gaussians are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.inference import LandmarkDetector
from lmk3d.synthetic import SPINE_LANDMARKS, film_phantom

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIRST_SEED = 800_000  # far above those that bundles are trained on


def wrong_peaks(found_mm: np.ndarray, truth_mm: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(N,) whether each point lies nearer to a neighbour of its kind than to its own place; a missing one does not.

    Args:
        found_mm, truth_mm: (N, 3).
        names: of the points; those that share what stands behind the first underscore are of one kind.
    """
    kinds = np.array([name.partition("_")[2] for name in names])
    distance = np.linalg.norm(found_mm[:, None] - truth_mm[None], axis=2)
    own = np.diagonal(distance)
    others = np.where((kinds[:, None] == kinds) & ~np.eye(len(kinds), dtype=bool), distance, np.inf)
    return np.asarray(others.min(1) < own)


def main(argv: Sequence[str] | None = None) -> None:
    """Print both rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=20, help="drawn spines")
    given = parser.parse_args(argv)
    detector = LandmarkDetector.from_bundle(given.bundle)
    network: Any = detector.network.heatmap.network
    for product in (False, True):
        network.product = product
        wrong, errors = [], []
        for seed in range(_FIRST_SEED, _FIRST_SEED + given.count):
            phantom = film_phantom(seed, kind="spine", side_px=480)
            found = detector.detect(phantom.volume).ordered(SPINE_LANDMARKS).points_mm
            truth = phantom.landmarks.ordered(SPINE_LANDMARKS).points_mm
            wrong.append(wrong_peaks(found, truth, SPINE_LANDMARKS))
            errors.append(np.linalg.norm(found - truth, axis=1))
        name = "heatmap x coordinate" if product else "heatmap alone"
        rate, error = 100 * float(np.mean(wrong)), float(np.nanmean(errors))
        print(f"{name}: {rate:.1f} % wrong peaks of {np.size(wrong)}, mean error {error:.2f} mm", flush=True)


if __name__ == "__main__":
    main()
