"""Table of docs/bone_age.rst, made again: bone age learnt from hand phantoms, on phantoms that were not trained on.

    python tools/bone_age.py OUT [--hands 600] [--tests 200] [--epochs 75]

Writes the model to OUT/bone_age.pt (for ``lmk3d measure age``) and the points of one test hand to OUT/hand.mrk.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lmk3d.apps.bone_age import age_scores, train_bone_age
from lmk3d.io import write_points
from lmk3d.synthetic import hand_phantom

_FIRST_TEST = 100_000  # seeds far from those of the training


def main() -> None:
    """Read the arguments, train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write to; made if it is not there")
    parser.add_argument("--hands", type=int, default=600, help="training hands (default: %(default)s)")
    parser.add_argument("--tests", type=int, default=200, help="test hands (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=75, help="passes over the hands (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    hands = [hand_phantom(seed) for seed in range(arguments.hands)]
    tests = [hand_phantom(_FIRST_TEST + seed) for seed in range(arguments.tests)]
    begun = time.monotonic()
    ages = np.array([hand.age_months for hand in hands])
    model = train_bone_age([hand.landmarks for hand in hands], ages, arguments.out, epochs=arguments.epochs)
    print(f"{len(hands)} hands, {arguments.epochs} epochs: {time.monotonic() - begun:.0f} s")
    truth = np.array([hand.age_months for hand in tests])
    readings = [model.read(hand.landmarks) for hand in tests]
    for name, read in (
        ("mean of the classes", [own.months for own in readings]),
        ("likeliest class", [own.likeliest_months for own in readings]),
    ):
        scores = age_scores(read, truth, mean_age=float(ages.mean()))
        print(f"{name:20} MAE {scores.mae_months:5.2f} months, R^2 {scores.r_squared:.3f}, {len(tests)} hands")
    print(f"{'mean age':20} MAE {scores.mean_age_mae_months:5.2f} months")
    write_points(tests[0].landmarks, arguments.out / "hand.mrk.json")
    print(f"hand.mrk.json is {truth[0]:.1f} months old")


if __name__ == "__main__":
    main()
