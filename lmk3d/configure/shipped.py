"""The plans of the bundles that ship with the package: CTA of the heart and the aorta, and four of films.

``python -m lmk3d.configure.shipped bundles`` writes its files anew; a test holds the committed ones against this plan.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lmk3d.configure.files import write_bundle
from lmk3d.configure.plan import LevelPlan, Plan
from lmk3d.synthetic import (
    AORTIC_LANDMARKS,
    CARDIAC_LANDMARKS,
    CHEST_CONTOURS,
    CHEST_LANDMARKS,
    MEDIASTINUM_LANDMARKS,
    SKULL_LANDMARKS,
    SPINE_LANDMARKS,
)

__all__ = ["APPEARANCE_CONTEXT", "CASCADE", "DENSESEG", "HEATMAP_COORDINATE", "LANDMARKNET", "SHIPPED"]


def _phantoms(first_seed: int, hearts: int, aortas: int) -> list[dict[str, object]]:
    """Phantoms coarse enough that a bundle without data starts within a minute; seeds run on."""
    regions = [("heart", 1.0)] * hearts + [("aorta", 2.0)] * aortas
    return [
        {"seed": first_seed + number, "region": region, "spacing_mm": spacing}
        for number, (region, spacing) in enumerate(regions)
    ]


# The apex is the pole of a smooth egg, a small patch of which looks alike everywhere: the larger view keeps its say.
_SHARES = tuple(0.5 if name == "heart_apex" else 1.0 for name in (*CARDIAC_LANDMARKS, *AORTIC_LANDMARKS))

CASCADE = Plan(
    name="cascade",
    description="Five cardiac and nine aortic landmarks in CTA, by a heatmap U-Net and two refiners",
    names=(*CARDIAC_LANDMARKS, *AORTIC_LANDMARKS),
    pairs=(),
    low=-200.0,
    high=700.0,
    spacing_mm=3.0,
    sides=(64, 64, 96),
    channels=(16, 32, 64, 128, 128),
    levels=(
        LevelPlan(2.0, 32, 2.5, count=4, passes=2, share=_SHARES),
        LevelPlan(0.7, 24, 1.5, count=8, passes=2, share=_SHARES),
    ),
    max_angle=0.25,
    shift_mm=10.0,
    crop=True,
    zoom=0.2,
    cut=0.3,
    scanners="ct",
    missing="absent",
    tolerance_mm=5.0,
    waves_mm=(4.0, 120.0),
    phantoms={"training": _phantoms(10_000, 10, 6), "validation": _phantoms(20_000, 2, 2)},
    epochs=40,
    validate_every=5,
)


def _films(
    kind: str, first_seed: int, training: int, validation: int, side_px: int
) -> dict[str, list[dict[str, object]]]:
    """Films for a training that begins within a minute; seeds run on."""
    seeds = iter(range(first_seed, first_seed + training + validation))
    films = [{"seed": seed, "kind": kind, "side_px": side_px} for seed in seeds]
    return {"training": films[:training], "validation": films[training:]}


_FILM: dict[str, Any] = {
    "pairs": (),
    "low": 1.0,
    "high": 99.0,
    "percentiles": True,
    "levels": (),
    "max_angle": 0.1,
    "min_presence": 0.0,
    "epochs": 60,
    "batch_size": 4,
    "validate_every": 10,
}

APPEARANCE_CONTEXT = Plan(
    **_FILM,
    name="appearance_context",
    description="19 points of lateral skull films, by local appearance times global context",
    method="appearance_context",
    names=SKULL_LANDMARKS,
    spacing_mm=1.5,
    sides=(160, 144, 1),
    shift_mm=8.0,
    waves_mm=(1.5, 80.0),
    phantoms=_films("skull", 30_000, 24, 6, 320),
)

LANDMARKNET = Plan(
    **{**_FILM, "min_presence": 0.3, "epochs": 100},
    name="landmarknet",
    description="Tracheal bifurcation and spinous processes in therapy films, by a double feature pyramid",
    method="landmarknet",
    names=MEDIASTINUM_LANDMARKS,
    spacing_mm=1.36,
    sides=(192, 192, 1),
    shift_mm=10.0,
    missing="absent",
    instances=5,
    phantoms=_films("mediastinum", 40_000, 96, 12, 320),
)

HEATMAP_COORDINATE = Plan(
    **_FILM,
    name="heatmap_coordinate",
    description="68 corners of 17 vertebrae in frontal films, by heatmaps times regressed coordinates",
    method="heatmap_coordinate",
    names=SPINE_LANDMARKS,
    spacing_mm=2.0,
    sides=(320, 128, 1),
    shift_mm=10.0,
    phantoms=_films("spine", 50_000, 72, 6, 480),
)

DENSESEG = Plan(
    **_FILM,
    name="denseseg",
    description="Outlines of lungs, heart and clavicles with 166 points in chest films, by a dense map to a template",
    method="denseseg",
    names=CHEST_LANDMARKS,
    structures={name: tuple(f"{name}_{row:02d}" for row in range(count)) for name, count in CHEST_CONTOURS.items()},
    spacing_mm=2.25,
    sides=(160, 160, 1),
    shift_mm=12.0,
    phantoms=_films("chest", 60_000, 24, 6, 320),
)

SHIPPED = (CASCADE, APPEARANCE_CONTEXT, LANDMARKNET, HEATMAP_COORDINATE, DENSESEG)


if __name__ == "__main__":
    for plan in SHIPPED:
        write_bundle(Path(sys.argv[1]) / plan.name, plan)
