"""Write a data set's JSON and its files of points for each benchmark set of the shared data folder.

    python tools/prepare_shared_data.py OUT [--data FOLDER]

Images are referenced where they lie, by relative path. The folder holds one subfolder for each set, with images/,
landmarks.csv (case, landmark and either x, y, z in LPS mm or column, row, slice) and splits.json.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lmk3d.codecs import ShapeModel
from lmk3d.geometry import LPS_TO_RAS, apply_affine, fit_similarity
from lmk3d.io import write_points
from lmk3d.landmarks import Landmarks

Shape = dict[str, np.ndarray]  # name -> (3,) LPS mm or px


@dataclass(frozen=True)
class Source:
    """One set of the shared data folder.

    Args:
        name: its folder.
        description: what the data set's file says of it.
        second: its second raters' tables by the name that the case's key gets; the first becomes ``second_points``.
        spacing_mm: pixel spacing where points are pixel indices; None leaves them in px.
        pairs: how left and right are found: "symmetry", "names" or "none".
        corners: four of one structure, as the ends of their names in order round it.
    """

    name: str
    description: str
    second: tuple[str, ...] = ()
    spacing_mm: float | None = None
    pairs: str = "none"
    corners: tuple[str, ...] = ()


SOURCES = (
    Source(
        "mouse_skull_ct",
        "39 skull CT of mice in any pose, 45 landmarks; 24 of them by a second rater",
        second=("landmarks_second_rater.csv",),
        pairs="symmetry",
    ),
    Source("lumbar_mr", "54 lumbar spine MR, centroids of five vertebrae"),
    Source(
        "cephalogram_isbi2015",
        "300 lateral cephalograms, 19 landmarks, mean of two raters",
        second=("landmarks_senior.csv", "landmarks_junior.csv"),
        spacing_mm=0.2,
    ),
    Source(
        "spine_aasce2019",
        "481 frontal spine films, four corners of 17 vertebrae, in pixels",
        pairs="names",
        corners=("_top_left", "_top_right", "_bottom_right", "_bottom_left"),
    ),
)


def read_shapes(path: Path, spacing_mm: float | None) -> dict[str, Shape]:
    """The points of each case of a table, in LPS mm (px without a spacing)."""
    shapes: dict[str, Shape] = defaultdict(dict)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            if "x" in row:
                point = np.array([float(row[axis]) for axis in "xyz"])
            else:
                point = np.array([float(row["column"]), float(row["row"]), 0.0]) * (spacing_mm or 1.0)
            if row["landmark"] in shapes[row["case"]]:
                raise SystemExit(f"{path}: case {row['case']} has landmark {row['landmark']} twice")
            shapes[row["case"]][row["landmark"]] = point
    return dict(shapes)


def mirror_pairs(mean: np.ndarray) -> tuple[list[tuple[int, int]], list[int], float]:
    """Left and right points of a nearly symmetric shape.

    Mirror planes of many directions are tried. Each is moved to where the mirrored shape fits the shape best (rigid
    fits onto nearest points, the farthest fifth left out), and the best one wins. Partners are mutual nearest
    neighbours that lie within a tenth of the shape's size of each other.

    Args:
        mean: (N, 3) points.
    Returns:
        Pairs of rows (the one with the smaller row first), rows on the plane, and the mean distance of a mirrored point
        from the nearest one, the farthest fifth left out.
    """
    centred = mean - mean.mean(0)
    tried = [_mirrored_distances(centred, normal) for normal in _half_sphere(100)]
    distance = min(tried, key=_misfit)
    near = distance < 0.1 * np.sqrt((centred**2).sum(1).mean())
    partner = distance.argmin(1)
    mutual = [
        row
        for row, own in enumerate(partner)
        if near[row, own] and partner[own] == row and distance[:, own].argmin() == row
    ]
    pairs = [(row, int(partner[row])) for row in mutual if row < partner[row]]
    return pairs, [row for row in mutual if partner[row] == row], _misfit(distance)


def _half_sphere(count: int) -> np.ndarray:
    """(count, 3) unit vectors spread evenly over half a sphere, on a golden spiral."""
    height, angle = (np.arange(count) + 0.5) / count, np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def _mirrored_distances(points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(N, N) distances of the mirrored points (rows) from the points, by the best mirror plane near ``normal``."""
    mirrored = points - 2 * np.outer(points @ normal, normal)
    moved = mirrored
    for _ in range(20):
        distance = np.linalg.norm(moved[:, None] - points, axis=2)
        kept = distance.min(1).argsort()[: _most(len(points))]
        fit = fit_similarity(mirrored[kept], points[distance.argmin(1)[kept]], scale=False)
        moved = apply_affine(fit, mirrored)
    return np.linalg.norm(moved[:, None] - points, axis=2)


def _misfit(distance: np.ndarray) -> float:
    return float(np.sort(distance.min(1))[: _most(len(distance))].mean())


def _most(count: int) -> int:
    """Four fifths, but three at least, which a fit needs."""
    return max(3, round(0.8 * count))


def find_pairs(source: Source, names: list[str], shapes: list[Shape]) -> tuple[list[list[str]], list[str]]:
    """Pairs of landmark names that a mirror image exchanges, and the names off the midline without a partner."""
    if source.pairs == "names":
        return [
            [name, other] for name in names if (other := name.replace("left", "right")) != name and other in names
        ], []
    if source.pairs == "none":
        return [], []
    nowhere = np.full(3, np.nan)
    pairs, midline, distance = mirror_pairs(
        ShapeModel.from_shapes([np.array([s.get(n, nowhere) for n in names]) for s in shapes]).mean_mm
    )
    found = {row for pair in pairs for row in pair} | set(midline)
    alone = [name for row, name in enumerate(names) if row not in found]
    print(
        f"  {source.name}: mirrored mean shape lies {distance:.3f} mm off; {len(pairs)} pairs, midline "
        f"{' '.join(names[row] for row in midline) or 'none'}, without partner {' '.join(alone) or 'none'}"
    )
    return [[names[a], names[b]] for a, b in pairs], alone


def write_shape(shape: Shape, names: list[str], path: Path, unit: str) -> None:
    """One case's points as a file; names that it lacks become missing points."""
    nowhere = np.full(3, np.nan)
    points_mm = apply_affine(LPS_TO_RAS, [shape.get(name, nowhere) for name in names])
    write_points(Landmarks(tuple(names), points_mm + 0.0, unit=unit), path)


def drop_outside(shape: Shape, image: Path, spacing_mm: float | None) -> None:
    """Take away the points of a film that its picture does not show, and say so."""
    with Image.open(image) as picture:
        ends = (np.array(picture.size) - 0.5) * (spacing_mm or 1.0)
    for name, (column, row, _) in list(shape.items()):
        if not (-0.5 * (spacing_mm or 1.0) <= min(column, row) and column <= ends[0] and row <= ends[1]):
            del shape[name]
            print(f"{image}: {name} lies outside the picture; taken as missing")


def find_copies(images: dict[str, Path]) -> dict[str, str]:
    """The cases whose file of the image stands more than once, each with the first case that has it."""
    alike = defaultdict(list)
    for case, path in images.items():
        alike[hashlib.sha256(path.read_bytes()).digest()].append(case)
    return {case: cases[0] for cases in alike.values() if len(cases) > 1 for case in cases}


def find_structures(source: Source, names: list[str]) -> dict[str, list[str]]:
    """The corners of each structure, in order round it; none where the source names no corners."""
    whole = [name.removesuffix(end) for end in source.corners[:1] for name in names if name.endswith(end)]
    return {name: [name + corner for corner in source.corners] for name in whole}


def prepare(source: Source, data: Path, out: Path) -> str:
    """Write one set; a line that sums it up."""
    folder, target = data / source.name, out / source.name
    shapes = read_shapes(folder / "landmarks.csv", source.spacing_mm)
    seconds = {table: read_shapes(folder / table, source.spacing_mm) for table in source.second}
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    images = {path.name.split(".")[0]: path for path in sorted((folder / "images").iterdir())}
    copies = find_copies(images)
    names = list(dict.fromkeys(name for shape in shapes.values() for name in shape))
    for case, shape in shapes.items():
        if images[case].suffix == ".jpg":
            drop_outside(shape, images[case], source.spacing_mm)
    unit = "px" if source.spacing_mm is None and next(iter(images.values())).suffix == ".jpg" else "mm"
    pairs, one_sided = find_pairs(source, names, [shapes[case] for case in splits["training"]])
    about = {
        "name": source.name,
        "description": source.description,
        "landmarks": names,
        "one_sided": one_sided,
        "spacing_mm": source.spacing_mm,
        "structures": find_structures(source, names),
    }
    content: dict[str, Any] = {key: value for key, value in about.items() if value} | {"pairs": pairs}
    tables = {"points": shapes} | {table.removesuffix(".csv"): found for table, found in seconds.items()}
    for table in tables:
        (target / table).mkdir(parents=True, exist_ok=True)
    for split, cases in splits.items():
        section = split if split in ("training", "validation") else "test"
        content[section] = []
        for case in cases:
            entry: dict[str, Any] = {"name": case, "image": Path(os.path.relpath(images[case], target)).as_posix()}
            if case in copies:
                entry["patient"] = copies[case]
            for table, found in tables.items():
                if case in found:
                    write_shape(found[case], names, target / table / f"{case}.csv", unit)
                    entry.setdefault("points" if table == "points" else "second_points", f"{table}/{case}.csv")
            content[section].append(entry)
    path = target / "dataset.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    counts = ", ".join(f"{len(cases)} {split}" for split, cases in splits.items())
    return f"{path}: {counts}; {len(names)} landmarks, {len(pairs)} pairs, {unit}"


def main() -> None:
    """Read the arguments and write every set that is there."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write to; made if it is not there")
    default = Path(os.environ.get("LMK3D_DATA") or root.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=default, help="folder of the sets (default: %(default)s)")
    arguments = parser.parse_args()
    there = [source for source in SOURCES if (arguments.data / source.name).is_dir()]
    if not there:
        parser.error(f"{arguments.data}: has none of {', '.join(source.name for source in SOURCES)}")
    for source in there:
        print(prepare(source, arguments.data.resolve(), arguments.out.resolve()))


if __name__ == "__main__":
    main()
