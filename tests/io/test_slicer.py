from __future__ import annotations

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io.slicer import describe, name_points, parse_description, parse_slicer_frame, placed
from lmk3d.io.tables import PointRows
from lmk3d.io.trust import Said
from lmk3d.landmarks import Landmarks


def test_a_place_counts_by_its_state():
    rows = PointRows()
    assert placed([1, 2, 3], "defined", rows, "a") == [1, 2, 3]
    assert placed([0, 0, 0], "defined", rows, "a") == [0, 0, 0]
    assert placed(["", "", ""], "missing", rows, "a") is None
    assert placed([0.0, -0.0, 0], "preview", rows, "a") is None
    assert not rows.notes
    assert placed(["0", "0", "1"], "preview", rows, "a") == ["0", "0", "1"]
    assert placed([0, 0, 1], "undefined", rows, "a") is None
    assert len(rows.notes) == 2
    with pytest.raises(InputError, match="line 1: positionStatus 4 is unknown; write undefined, preview"):
        placed([1, 2, 3], 4, rows, "line 1")


def test_ids_give_names_that_no_label_has():
    rows = PointRows(names=["1", "1", "1'"], unnamed={0: "1"})
    name_points(rows)
    assert rows.names == ["1''", "1", "1'"]


def test_description_carries_both_measures_exactly():
    landmarks = Landmarks(("a", "b"), [[1, 2, 3]] * 2, confidence=[1 / 3, np.nan], error_mm=[2e-7, np.nan], unit="px")
    assert describe(landmarks, 0) == "confidence=0.3333333333333333; error_px=2e-07"
    assert parse_description(describe(landmarks, 0)) == Said("0.3333333333333333", "2e-07")
    assert describe(landmarks, 1) == ""
    assert parse_description("by hand") == Said()


def test_numbers_of_old_slicers_are_frames():
    assert [parse_slicer_frame(value, "a") for value in ("0", 1, "ras", "LPS")] == ["RAS", "LPS", "RAS", "LPS"]
    with pytest.raises(InputError, match="a, line 2: points are voxel indices"):
        parse_slicer_frame("2", "a, line 2")
