"""The plan of the bundle that ships with the package: bundles/cascade, for CTA of the heart and the aorta.

``python -m lmk3d.configure.shipped bundles`` writes its files anew; a test holds the committed ones against this plan.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lmk3d.configure.files import write_bundle
from lmk3d.configure.plan import LevelPlan, Plan
from lmk3d.synthetic import AORTIC_LANDMARKS, CARDIAC_LANDMARKS

__all__ = ["CASCADE"]


def _phantoms(first_seed: int, hearts: int, aortas: int) -> list[dict[str, object]]:
    """Phantoms coarse enough that a bundle without data starts within a minute; seeds run on."""
    regions = [("heart", 1.0)] * hearts + [("aorta", 2.0)] * aortas
    return [
        {"seed": first_seed + number, "region": region, "spacing_mm": spacing}
        for number, (region, spacing) in enumerate(regions)
    ]


CASCADE = Plan(
    name="cascade",
    description="Five cardiac and nine aortic landmarks in CTA, by a heatmap U-Net and two refiners",
    names=(*CARDIAC_LANDMARKS, *AORTIC_LANDMARKS),
    pairs=(),
    low=-200.0,
    high=700.0,
    spacing_mm=2.5,
    sides=(64, 64, 64),
    levels=(LevelPlan(2.0, 32, 2.5, count=8, passes=2), LevelPlan(0.7, 24, 1.0, count=14, passes=2)),
    max_angle=0.25,
    shift_mm=10.0,
    crop=True,
    missing="absent",
    tolerance_mm=5.0,
    waves_mm=(4.0, 120.0),
    phantoms={"training": _phantoms(10_000, 10, 6), "validation": _phantoms(20_000, 2, 2)},
    epochs=40,
    validate_every=5,
)


if __name__ == "__main__":
    write_bundle(Path(sys.argv[1]) / CASCADE.name, CASCADE)
