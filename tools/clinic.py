"""Tables of docs/cephalometry.rst and docs/scoliosis.rst, made again from the raters' points and the given angles.

    python tools/clinic.py ceph [--data FOLDER] [--predicted POINTS_FOLDER]
    python tools/clinic.py cobb [--data FOLDER] [--predicted POINTS_FOLDER]

Reads cephalogram_isbi2015 or spine_aasce2019 of the shared data folder. A folder of predicted points (CASE.mrk.json,
CASE.csv, ..., in mm for ceph and px for cobb) is compared with the raters' mean, or with the given angles.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lmk3d.apps.cephalometry import MEASURES, Cephalometry, agreement, cephalometry
from lmk3d.apps.films import from_film
from lmk3d.apps.scoliosis import CORNERS, CobbAngles, cobb_angles, measure_cobb, smape
from lmk3d.errors import InputError
from lmk3d.io import POINT_FORMATS, read_points
from lmk3d.landmarks import Landmarks

_SPACING_MM = 0.2  # of the halved ISBI 2015 films


def read_table(path: Path, scale: float = 1.0, unit: str = "px") -> dict[str, Landmarks]:
    """The points of each case of a table of pixel indices, times ``scale``."""
    points: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            points[row["case"]][row["landmark"]] = (float(row["column"]) * scale, float(row["row"]) * scale)
    return {case: Landmarks(tuple(own), from_film(list(own.values())), unit=unit) for case, own in points.items()}


def read_predicted(folder: Path, cases: list[str]) -> dict[str, Landmarks]:
    """The points that a folder holds for these cases."""
    files = {case: folder / f"{case}{ending}" for ending in reversed(POINT_FORMATS) for case in cases
             if (folder / f"{case}{ending}").is_file()}  # fmt: skip
    return {case: read_points(path) for case, path in files.items()}


def compare_readers(name: str, truth: list[Cephalometry], other: list[Cephalometry]) -> None:
    """Print how well two readers agree, and the confusion tables."""
    print(f"\n{name}: {len(truth)} films")
    print("measure  same class %  diagonal mean %  mean difference  mean |difference|  confusion (rows: first reader)")
    found = agreement(truth, other)
    for measure, own in found.items():
        print(
            f"{measure:7}  {own.success_rate:12.2f}  {own.diagonal_mean:15.2f}  {own.mean_difference:+15.3f}  "
            f"{own.mean_absolute:17.3f}  {own.confusion.tolist()}"
        )
    rates, means = ([getattr(own, key) for own in found.values()] for key in ("success_rate", "diagonal_mean"))
    print(f"{'average':7}  {np.mean(rates):12.2f}  {np.mean(means):15.2f}")


def ceph(data: Path, predicted: Path | None) -> None:
    """Senior against junior rater on ISBI 2015's test1, each against the mean, and predictions where there are any."""
    folder = data / "cephalogram_isbi2015"
    cases = json.loads((folder / "splits.json").read_text(encoding="utf-8"))["test1"]
    tables = {"mean": "landmarks", "senior": "landmarks_senior", "junior": "landmarks_junior"}
    readers = {}
    for name, table in tables.items():
        points = read_table(folder / f"{table}.csv", _SPACING_MM, "mm")
        readers[name] = [cephalometry(points[case]) for case in cases]
    for first, second in (("senior", "junior"), ("mean", "senior"), ("mean", "junior")):
        compare_readers(f"{first} against {second}", readers[first], readers[second])
    print("\nclasses of the mean:")
    for measure, own in MEASURES.items():
        counts = np.bincount([film.classes[measure] for film in readers["mean"]], minlength=len(own.classes) + 1)[1:]
        words = dict(own.classes)
        print(f"{measure:5}  " + ", ".join(f"{words[number + 1]} {count}" for number, count in enumerate(counts)))
    if predicted is not None:
        points = read_predicted(predicted, cases)
        there = [row for row, case in enumerate(cases) if case in points]
        found = [cephalometry(points[cases[row]]) for row in there]
        compare_readers("mean against predicted", [readers["mean"][row] for row in there], found)


def compare_angles(name: str, found: np.ndarray, given: np.ndarray) -> None:
    """Print correlation, differences and SMAPE of (S, 3) angles in AASCE's order."""
    difference = found - given
    print(f"\n{name}: {len(found)} films, SMAPE {smape(found, given):.3f} %")
    for column, what in enumerate(("largest", "second", "third")):
        own = difference[:, column]
        print(
            f"{what:8} correlation {np.corrcoef(found[:, column], given[:, column])[0, 1]:.7f}, mean difference "
            f"{own.mean():+.3f}, mean |difference| {np.abs(own).mean():.3f}, largest {np.abs(own).max():.3f} degrees, "
            f"over 2 degrees: {int((np.abs(own) > 2).sum())}"
        )


def end_plate_angle(angles: CobbAngles, corners: Landmarks) -> float:
    """Degrees between the upper plate of the largest curve's upper end and the lower plate of its lower end."""
    points = -corners.ordered(CORNERS).points_mm[:, :2].reshape(17, 4, 2)
    curve = angles.curves[angles.largest]
    upper, lower = np.diff(points[curve.upper - 1, :2], axis=0)[0], np.diff(points[curve.lower - 1, 2:], axis=0)[0]
    cosine = upper @ lower / np.linalg.norm(upper) / np.linalg.norm(lower)
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def reasons(points: dict[str, Landmarks]) -> dict[str, str]:
    """Why ``lmk3d measure cobb`` refuses the corners of some cases."""
    refused = {}
    for case, corners in points.items():
        try:
            measure_cobb(corners)
        except InputError as error:
            refused[case] = str(error)
    return refused


def cobb(data: Path, predicted: Path | None) -> None:
    """The given angles from the given corners of AASCE 2019, and from predicted ones where there are any."""
    from PIL import Image

    folder = data / "spine_aasce2019"
    points = read_table(folder / "landmarks.csv")
    with (folder / "cobb_angles.csv").open(encoding="utf-8", newline="") as file:
        angles = {
            row["case"]: [float(row[f"angle{number}_deg"]) for number in (1, 2, 3)] for row in csv.DictReader(file)
        }
    cases = sorted(angles)
    heights = {}
    for case in cases:
        with Image.open(folder / "images" / f"{case}.jpg") as film:
            heights[case] = float(film.height)
    given = np.array([angles[case] for case in cases])

    def measured(own: dict[str, Landmarks], case: str, *, film: bool = True) -> CobbAngles:
        corners = -own[case].ordered(CORNERS).points_mm[:, :2].reshape(17, 4, 2)
        return cobb_angles(corners, film_height=heights[case] if film else None)

    found = np.array([measured(points, case).challenge_deg for case in cases])
    compare_angles("given corners", found, given)
    plates = np.array([end_plate_angle(measured(points, case), points[case]) for case in cases]) - found[:, 0]
    print(
        "the largest angle between end plates, instead of between middles: mean difference "
        f"{plates.mean():+.2f}, mean |difference| {np.abs(plates).mean():.2f} degrees"
    )
    without = np.array([measured(points, case, film=False).challenge_deg for case in cases])
    compare_angles("given corners, film's height unknown", without, given)
    refused = reasons({case: points[case] for case in cases})
    sound = np.array([case not in refused for case in cases])
    compare_angles("given corners whose names agree with where they lie", found[sound], given[sound])
    print(f"\nrefused by lmk3d measure cobb: {len(refused)} of {len(cases)}")
    for case, reason in refused.items():
        print(f"  {case}: {reason}")
    if predicted is not None:
        own = read_predicted(predicted, cases)
        rows = [row for row, case in enumerate(cases) if case in own and own[case].ordered(CORNERS).present.all()]
        print(f"\n{len(own)} films predicted, {len(rows)} of them with all corners")
        compare_angles(
            "predicted corners", np.array([measured(own, cases[row]).challenge_deg for row in rows]), given[rows]
        )


def main() -> None:
    """Read the arguments and print the tables."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("ceph", "cobb"))
    default = Path(os.environ.get("LMK3D_DATA") or root.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=default, help="folder of the sets (default: %(default)s)")
    parser.add_argument("--predicted", type=Path, metavar="FOLDER", help="points to compare")
    arguments = parser.parse_args()
    {"ceph": ceph, "cobb": cobb}[arguments.which](arguments.data, arguments.predicted)


if __name__ == "__main__":
    main()
