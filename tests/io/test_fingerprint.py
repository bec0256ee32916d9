from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume
from lmk3d.io.fingerprint import foreground, measure_image, summarise
from lmk3d.landmarks import Landmarks

GRID = Grid((10, 20, 40), np.diag([1.0, 2.0, 0.5, 1]))


def ct(seed=0, high=100):
    """Air of -1000, and a body of values spread around ``high`` in a corner of one eighth."""
    data = np.full(GRID.shape, -1000, np.int16)
    data[:5, :10, :20] = np.random.default_rng(seed).integers(high - 50, high + 51, (5, 10, 20))
    return Volume(data, GRID)


def facts(volume=None, landmarks=None, name="a", section="training"):
    return measure_image(ct() if volume is None else volume, landmarks, name, section)


def test_foreground_is_what_otsu_leaves():
    values = foreground(ct().data)
    assert len(values) == 1000
    assert values.min() == 50
    assert values.max() == 150


def test_foreground_of_large_images_is_drawn_evenly():
    data = np.zeros((200, 200, 50), np.uint8)
    data[:100] = 7
    values = foreground(data)
    assert 50_000 < len(values) < 250_000
    assert set(values) == {7}


def test_foreground_of_odd_images_is_not_empty():
    assert foreground(np.full((3, 3, 3), 5)).tolist() == [5] * 27
    assert foreground(np.full((3, 3, 3), np.nan)).tolist() == [0]
    assert foreground(np.array([[[1, np.nan, 9]]])).tolist() == [9]
    lonely = np.zeros((30, 30, 30))
    lonely[0, 0, 0] = 4
    assert foreground(lonely).tolist() == [4]


def test_image_is_measured_by_hand():
    landmarks = Landmarks(("a", "b", "b"), [[0, 0, 0], [4.5, 19, 9.75], [np.nan] * 3])
    found = facts(landmarks=landmarks)
    assert (found.minimum, found.maximum) == (-1000, 150)
    assert found.shape == (10, 20, 40)
    assert found.spacing_mm == (1, 2, 0.5)
    assert found.points == {"a": 1, "b": 1}
    assert found.extent_mm == (4.5, 19, 9.75)
    assert found.size_mm == (10, 40, 20)
    # The middle lies at (4.5, 19, 9.75), where the second point is; the mean of both lies half as far from the first.
    assert found.offset_mm == (-2.25, -9.5, -4.875)
    # The first voxel's centre lies half a voxel in: 0.5 / 10; index 4.5 lies at the middle of ten voxels.
    np.testing.assert_allclose(found.box, [[0.05, 0.025, 0.0125], [0.5, 0.5, 0.5]])


def test_image_without_points_has_no_box():
    assert facts().box is None
    assert facts(landmarks=Landmarks(("a",), [[np.nan] * 3])).extent_mm is None


def test_values_that_are_not_finite_do_not_count():
    data = np.array([[[1.0, np.inf, np.nan, 3.0]]])
    found = facts(Volume(data, Grid((1, 1, 4), np.eye(4))))
    assert (found.minimum, found.maximum) == (1, 3)


def test_summary_joins_the_images():
    one = facts(landmarks=Landmarks(("a", "b"), [[0, 0, 0], [4, 4, 4]]))
    grid = Grid((20, 20, 40), np.diag([1.0, 1.0, 0.5, 1]))
    two = facts(Volume(np.ones(grid.shape), grid), Landmarks(("a", "c"), [[0, 0, 0], [2, 2, 2]]), "b", "validation")
    found = summarise("set", ("a", "b"), [one, two])
    assert found.unit == "mm"
    assert found.cases == {"training": 1, "validation": 1}
    assert found.median_shape == [15, 20, 40]
    assert found.median_size_mm == [15, 30, 20]
    assert found.points == {"a": 2, "b": 1, "c": 1}
    assert found.median_extent_mm == [3, 3, 3]
    assert found.sizes == [[10, 20, 40], [20, 20, 40]]
    assert found.spacings_mm[1] == [1, 1, 0.5]
    assert (found.minimum, found.maximum) == (-1000, 150)
    assert json.loads(json.dumps(found.to_dict()))["images"][0]["shape"] == [10, 20, 40]


def test_table_says_sizes_spacings_values_and_points():
    one = facts(landmarks=Landmarks(("a", "b"), [[0, 0, 0], [4, 4, 4]]))
    text = summarise("set", ("a", "b", "c"), [one]).table()
    for part in ("set", "1 training", "10 x 20 x 40", "1 x 2 x 0.5 mm", "-1000 to 150", "1 of 1: a, b", "0 of 1: c"):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_nothing_readable_is_an_empty_fingerprint():
    found = summarise("set", ("a",), [])
    assert found.unit == ""
    assert found.median_shape == []
    assert found.minimum is None
    assert "none readable" in found.table()
    json.dumps(found.to_dict())
    assert found.window() == (0.5, 99.5, True)


def test_units_that_differ_are_mixed():
    film = Volume(np.arange(6.0).reshape(2, 3, 1), Grid((2, 3, 1), np.eye(4)), "px")
    assert summarise("set", (), [facts(), facts(film)]).unit == "mixed"


def test_window_counts_in_stored_numbers_where_these_mean_the_same():
    low, high, percentiles = summarise("set", (), [facts(ct(seed)) for seed in range(3)]).window()
    assert not percentiles
    assert high == pytest.approx(150, abs=2)
    # Foreground from 50 to 150: twice as far down as its lower end is -50.
    assert low == pytest.approx(-50, abs=4)


def test_window_counts_in_percentiles_where_numbers_mean_nothing():
    assert summarise("set", (), [facts(ct(0, high)) for high in (100, 400, 900)]).window() == (0.5, 99.5, True)
    # Numbers that agree within the set, but have no air of Hounsfield units, say nothing of the next scanner.
    mr = [replace(volume, data=volume.data.clip(0)) for volume in map(ct, range(3))]
    assert summarise("set", (), [facts(volume) for volume in mr]).window() == (0.5, 99.5, True)
    constant = Volume(np.ones(GRID.shape), GRID)
    assert summarise("set", (), [facts(constant)]).window() == (0.5, 99.5, True)
