"""Write CTA phantoms as a data set: scans, exact markups and the JSON that ``lmk3d train`` and the bundles read.

    python tools/make_phantoms.py OUT --heart 24 6 --aorta 16 4

makes 24 hearts and 16 aortas for training, 6 and 4 for validation. Seeds run on, so no phantom stands in two sections.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Literal

from lmk3d.io import atomic_path, write_image, write_points
from lmk3d.synthetic import AORTIC_LANDMARKS, CARDIAC_LANDMARKS, cta_phantom

SECTIONS = ("training", "validation")
REGIONS: tuple[Literal["heart", "aorta"], ...] = ("heart", "aorta")


def main() -> None:
    """Read the arguments and write the data set."""
    parser = argparse.ArgumentParser(description="Write CTA phantoms as a data set.")
    parser.add_argument("out", type=Path, help="folder to write to; phantoms that are there already are kept")
    parser.add_argument("--heart", type=int, nargs=2, default=(24, 6), help="hearts for training and validation")
    parser.add_argument("--aorta", type=int, nargs=2, default=(16, 4), help="aortas for training and validation")
    parser.add_argument("--spacing", type=float, nargs=2, default=(0.7, 1.4), help="of hearts and aortas in mm")
    parser.add_argument("--seed", type=int, default=0, help="of the first phantom")
    given = parser.parse_args()
    dataset: dict[str, object] = {
        "name": "cta_phantoms",
        "description": "CTA phantoms with exact landmarks; a landmark without a point lies outside the image",
        "landmarks": [*CARDIAC_LANDMARKS, *AORTIC_LANDMARKS],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    seed = given.seed
    for number, section in enumerate(SECTIONS):
        cases = []
        for region, count, spacing in zip(REGIONS, (given.heart, given.aorta), given.spacing, strict=True):
            for _ in range(count[number]):
                name = f"{region}_{seed:05d}"
                image, points = given.out / f"{name}.nii.gz", given.out / f"{name}.mrk.json"
                if not (image.is_file() and points.is_file()):
                    phantom = cta_phantom(seed, region=region, spacing_mm=spacing)
                    write_image(phantom.volume, image)
                    write_points(phantom.landmarks, points)
                cases.append({"name": name, "image": image.name, "points": points.name})
                seed += 1
        dataset[section] = cases
        print(f"{section}: {len(cases)} phantoms", flush=True)
    with atomic_path(given.out / "dataset.json") as path:
        path.write_text(json.dumps(dataset, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
