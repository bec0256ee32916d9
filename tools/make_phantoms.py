"""Write phantoms as a data set: images, exact points and the JSON that ``lmk3d train`` and the bundles read.

    python tools/make_phantoms.py OUT --heart 24 6 --aorta 16 4
    python tools/make_phantoms.py OUT --heart 24 6 --aorta 16 4 --varied 160 24
    python tools/make_phantoms.py OUT --film skull --count 24 6

The first makes CTA of 24 hearts and 16 aortas for training, of 6 and 4 for validation; the second adds 160 and 24
varied scans, almost half of which show no landmark; the third makes films of one kind (skull, spine, chest,
mediastinum). Seeds run on, so no phantom stands in two sections.
"""

from __future__ import annotations

import argparse
import json
from bisect import bisect
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmk3d.io import atomic_path, write_image, write_points
from lmk3d.synthetic import (
    AORTIC_LANDMARKS,
    CARDIAC_LANDMARKS,
    CHEST_LANDMARKS,
    MEDIASTINUM_LANDMARKS,
    SKULL_LANDMARKS,
    SPINE_LANDMARKS,
    cta_phantom,
    film_phantom,
    varied_phantom,
)
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmk3d.synthetic import FilmPhantom, Phantom
    from lmk3d.synthetic.varied import View

SECTIONS = ("training", "validation")
REGIONS: tuple[Literal["heart", "aorta"], ...] = ("heart", "aorta")
# Of 80 varied phantoms, how many show what, and their spacing in mm: fine about the heart, whose small vessels the
# refiners look for; elsewhere as coarse as the first stage sees it.
VIEWS: dict[View, tuple[int, float]] = {
    "heart": (10, 0.9),
    "chest": (14, 2.5),
    "aorta": (9, 2.5),
    "abdomen": (6, 2.5),
    "body": (7, 3.0),
    "pelvis": (4, 3.0),
    "neck": (3, 3.0),
    "unenhanced": (8, 3.0),
    "misplaced": (7, 3.0),
    "revalued": (4, 3.0),
    "shuffled": (2, 3.0),
    "object": (6, 2.5),
}
FILMS = {
    "skull": SKULL_LANDMARKS,
    "spine": SPINE_LANDMARKS,
    "chest": CHEST_LANDMARKS,
    "mediastinum": MEDIASTINUM_LANDMARKS,
}
SEVERAL = {"mediastinum": ["spinous_process"]}
PAIRS = {"spine": [[name, name.replace("left", "right")] for name in SPINE_LANDMARKS if "left" in name]}


def main() -> None:
    """Read the arguments and write the data set."""
    parser = argparse.ArgumentParser(description="Write phantoms as a data set.")
    parser.add_argument("out", type=Path, help="folder to write to; phantoms that are there already are kept")
    parser.add_argument("--heart", type=int, nargs=2, default=(24, 6), help="hearts for training and validation")
    parser.add_argument("--aorta", type=int, nargs=2, default=(16, 4), help="aortas for training and validation")
    parser.add_argument("--spacing", type=float, nargs=2, default=(0.7, 1.4), help="of hearts and aortas in mm")
    parser.add_argument("--varied", type=int, nargs=2, default=(0, 0), help="varied scans, for training and validation")
    parser.add_argument("--film", choices=FILMS, help="write films of this kind and no CTA")
    parser.add_argument("--count", type=int, nargs=2, default=(24, 6), help="films for training and validation")
    parser.add_argument("--side", type=int, default=512, help="pixels along a film's longest side")
    parser.add_argument("--seed", type=int, default=0, help="of the first phantom")
    parser.add_argument("--add", action="store_true", help="keep the cases of the data set that is there")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    dataset = cta_dataset(given) if given.film is None else film_dataset(given)
    file = given.out / "dataset.json"
    if given.add and file.is_file():
        add_to(json.loads(file.read_text(encoding="utf-8")), dataset)
    with atomic_path(file) as path:
        path.write_text(json.dumps(dataset, indent=1) + "\n", encoding="utf-8")


def add_to(earlier: dict[str, Any], dataset: dict[str, Any]) -> None:
    """Put the cases of an earlier data set before those of this one, but for those that it has itself."""
    names = {case["name"] for section in SECTIONS for case in dataset[section]}
    for section in SECTIONS:
        dataset[section] = [case for case in earlier[section] if case["name"] not in names] + dataset[section]


def cta_dataset(given: argparse.Namespace) -> dict[str, object]:
    """Write the CTA; what the data set's file says."""
    dataset: dict[str, object] = {
        "name": "cta_phantoms",
        "description": "CTA phantoms with exact landmarks; a landmark without a point lies outside the image",
        "landmarks": [*CARDIAC_LANDMARKS, *AORTIC_LANDMARKS],
    }
    seed = given.seed
    for number, section in enumerate(SECTIONS):
        cases = []
        for region, count, spacing in zip(REGIONS, (given.heart, given.aorta), given.spacing, strict=True):
            for _ in range(count[number]):
                make = partial(cta_phantom, seed, region=region, spacing_mm=spacing)
                cases.append(written(given.out, f"{region}_{seed:05d}", make))
                seed += 1
        for view, spacing in dealt(given.varied[number]):
            make = partial(varied_phantom, seed, view=view, spacing_mm=spacing)
            cases.append(written(given.out, f"{view}_{seed:05d}", make))
            seed += 1
        dataset[section] = cases
        print(f"{section}: {counted(len(cases), 'phantom')}", flush=True)
    return dataset


def dealt(count: int) -> list[tuple[View, float]]:
    """View and spacing of so many varied phantoms, each view as often as ``VIEWS`` says, to the nearest one."""
    up_to = list(accumulate(often for often, _ in VIEWS.values()))
    marks = [(number + 0.5) * up_to[-1] / count for number in range(count)]
    views = [list(VIEWS)[bisect(up_to, mark)] for mark in marks]
    return [(view, VIEWS[view][1]) for view in views]


def film_dataset(given: argparse.Namespace) -> dict[str, object]:
    """Write the films; what the data set's file says."""
    dataset: dict[str, object] = {
        "name": f"{given.film}_films",
        "description": "radiograph phantoms with exact landmarks",
        "landmarks": FILMS[given.film],
        "pairs": PAIRS.get(given.film, []),
    }
    first = film_phantom(given.seed, kind=given.film, side_px=32)
    names = first.landmarks.names
    dataset["several"] = SEVERAL.get(given.film, [])
    dataset["structures"] = {name: [names[row] for row in rows] for name, rows in first.contours.items()}
    seed = given.seed
    for section, count in zip(SECTIONS, given.count, strict=True):
        seeds = range(seed, seed := seed + count)
        make = partial(film_phantom, kind=given.film, side_px=given.side)
        dataset[section] = [written(given.out, f"{given.film}_{one:05d}", partial(make, one)) for one in seeds]
        print(f"{section}: {counted(count, 'film')}", flush=True)
    return dataset


def written(out: Path, name: str, make: Callable[[], Phantom | FilmPhantom]) -> dict[str, str]:
    """The case of that name; its files are written where they are not there yet."""
    image, points = out / f"{name}.nii.gz", out / f"{name}.mrk.json"
    if not (image.is_file() and points.is_file()):
        phantom = make()
        write_image(phantom.volume, image)
        write_points(phantom.landmarks, points)
    return {"name": name, "image": image.name, "points": points.name}


if __name__ == "__main__":
    main()
