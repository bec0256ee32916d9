from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmk3d.cli.table import landmark_table
from lmk3d.landmarks import Assessment, Landmarks

LANDMARKS = Landmarks(("apex", "left ostium"), [[1, -2.345, 300], [np.nan] * 3], [0.987, 0.02], [0.55, np.nan])


def test_table_aligns_names_positions_and_says_what_is_missing():
    assert landmark_table(LANDMARKS) == [
        "landmark           R      A       S  confidence  expected error",
        "apex            1.00  -2.35  300.00        0.99             0.6",
        "left ostium  missing      -       -        0.02               -",
    ]


def test_table_shows_true_errors_where_they_are_known():
    lines = landmark_table(LANDMARKS, errors_mm=[0.256, np.nan])
    assert lines[0].endswith("  error mm")
    assert lines[1].endswith("      0.26")
    assert lines[2].endswith("         -")


def test_table_shows_a_verdict_in_place_of_the_error_of_a_point_that_is_not_trusted():
    longest = "brachiocephalic_bifurcation"
    points = Landmarks((longest, "root"), [[-100.5, 2, -1003]] * 2, [1.0, 0.9], [0.3, 0.4], coverage=0.9)
    doubtful = replace(points, assessment=Assessment((), ("far off", "")))
    assert landmark_table(doubtful) == [
        "landmark                           R     A         S  confidence  90 % radius",
        "brachiocephalic_bifurcation  -100.50  2.00  -1003.00           -     doubtful",
        "root                         -100.50  2.00  -1003.00        0.90          0.4",
    ]
    unlike = replace(points, assessment=Assessment(("no CT",), ("", "")))
    lines = landmark_table(unlike.withheld())
    assert [line.split()[1:] for line in lines[1:]] == [["withheld", "-", "-", "-", "unlike"]] * 2
    assert max(map(len, lines)) <= 80
    gone = replace(unlike, points_mm=[[1, 2, 3], [np.nan] * 3]).withheld()
    assert landmark_table(gone)[2].split() == ["root", "missing", "-", "-", "-", "-"]


def test_names_cannot_command_the_terminal():
    lines = landmark_table(Landmarks(("a\x1b[2J", "b\nc"), [[1, 2, 3]] * 2))
    assert [line.split("  ")[0] for line in lines] == ["landmark", r"a\x1b[2J", r"b\nc"]
    assert len({len(line) for line in lines}) == 1
