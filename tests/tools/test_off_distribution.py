"""Changed scans whose points move with them, and a table that counts what is flagged, right and wrongly believed."""

import csv
import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Assessment, Landmarks

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "off_distribution.py"))
NAMES = ("apex", "root")


@pytest.fixture
def scan():
    """Twenty voxels a side of 2 mm; the only bright one is the first landmark, the other is outside."""
    data = np.zeros((20, 18, 16), np.int16)
    data[6, 9, 8] = 500
    grid = Grid.around([10.0, -20, 30], data.shape, 2.0)
    return Volume(data, grid), np.array([grid.to_mm([6, 9, 8]), [np.nan] * 3])


@pytest.mark.parametrize("name", TOOL["CHANGES"])
def test_the_brightest_voxel_stays_the_landmark_or_leaves_with_it(scan, name):
    volume, points = TOOL["CHANGES"][name](scan)
    assert volume.data.shape == volume.grid.shape
    assert np.isnan(points[1]).all()
    if name in ("shuffled voxels", "noise", "inverted"):
        assert_array_equal(points, scan[1])
    elif name == "cut to 0.6":
        assert volume.grid.shape == (12, 11, 10)
        assert_array_equal(np.isnan(points[0]).all(), not volume.grid.contains(scan[1][0]))
    else:
        brightest = volume.grid.to_mm(np.unravel_index(volume.data.argmax(), volume.data.shape))
        assert np.abs(brightest - points[0]).max() <= 0.75 * volume.grid.spacing_mm.max()


def test_a_patient_on_his_head_is_not_mirrored(scan):
    volume, points = TOOL["CHANGES"]["upside down"](scan)
    assert np.linalg.det(volume.grid.affine[:3, :3]) * np.linalg.det(scan[0].grid.affine[:3, :3]) > 0
    assert_allclose(points[0] - volume.grid.center_mm, [-1, 1, -1] * (scan[1][0] - scan[0].grid.center_mm))


class Says:
    """Finds the brightest voxel and a landmark that is not there, and says what it was told to."""

    names, notes = NAMES, ()

    def __init__(self, assessment):
        self.assessment = assessment

    def detect(self, volume):
        peak = volume.grid.to_mm(np.unravel_index(volume.data.argmax(), volume.data.shape))
        return Landmarks(NAMES, [peak, peak], assessment=self.assessment)


def test_outcomes_are_counted_by_what_is_believed(scan, tmp_path):
    verdicts = {
        "trusted": Assessment((), ("", "")),
        "doubtful": Assessment((), ("", "far off")),
        "unlike": Assessment(("too dark",), ("", "")),
    }
    outcomes = [TOOL["outcome"](Says(said), "own", name, scan) for name, said in verdicts.items()]
    assert [one.flagged for one in outcomes] == [False, False, True]
    assert [one.median_mm for one in outcomes] == [np.inf] * 3  # half of 0 and of infinity
    assert [one.trusted_median_mm for one in outcomes][:2] == [np.inf, 0.0]
    lines = TOOL["table"](outcomes, 10.0).splitlines()
    assert lines[1].split() == ["own", "3", "1", "1", "1", "0", "3", "2", "1"]
    assert "flagged: 1 of 3 (33.3 %) of those with a median error above 10 mm" in lines
    TOOL["write"](outcomes, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["why"] for row in rows] == ["", "far off", "too dark"]


def test_a_scan_that_is_refused_is_counted_as_one_without_a_point(scan):
    class Refuses(Says):
        def detect(self, volume):
            raise InputError("the image has no spacing")

    one = TOOL["outcome"](Refuses(None), "other", "film", scan)
    assert (one.verdict, one.points, one.why) == ("refused", 0, "the image has no spacing")
    assert "flagged or without a point: 1 of 1 (100.0 %) of other scans" in TOOL["table"]([one], 10.0)
