from __future__ import annotations

import numpy as np

from lmk3d.cli.table import landmark_table
from lmk3d.landmarks import Landmarks

LANDMARKS = Landmarks(("apex", "left ostium"), [[1, -2.345, 300], [np.nan] * 3], [0.987, 0.02], [0.55, np.nan])


def test_table_aligns_names_positions_and_says_what_is_missing():
    assert landmark_table(LANDMARKS) == [
        "landmark           R      A       S  confidence  expected mm",
        "apex            1.00  -2.35  300.00        0.99          0.6",
        "left ostium  missing      -       -        0.02            -",
    ]


def test_table_shows_true_errors_where_they_are_known():
    lines = landmark_table(LANDMARKS, errors_mm=[0.256, np.nan])
    assert lines[0].endswith("  error mm")
    assert lines[1].endswith("      0.26")
    assert lines[2].endswith("         -")


def test_table_of_points_without_spacing_counts_pixels():
    points = Landmarks(("sella",), [[10, 20, 0]], unit="px")
    assert landmark_table(points)[0].endswith("expected px")


def test_names_cannot_command_the_terminal():
    lines = landmark_table(Landmarks(("a\x1b[2J", "b\nc"), [[1, 2, 3]] * 2))
    assert [line.split("  ")[0] for line in lines] == ["landmark", r"a\x1b[2J", r"b\nc"]
    assert len({len(line) for line in lines}) == 1
