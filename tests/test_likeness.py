"""Limits learnt from few cases: what new cases of the same kind exceed, and what lies beyond."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.geometry import random_rotation
from lmk3d.likeness import Arrangement, Likeness, listed, upper_limit

SHAPE = np.array([[0.0, 0, 0], [40, 0, 0], [0, 50, 0], [0, 0, 60], [30, 30, 30]])


def shapes(count, seed=0, turned=False):
    generator = np.random.default_rng(seed)
    some = SHAPE + generator.normal(scale=1.5, size=(count, 5, 3))
    return np.array([one @ random_rotation(generator).T if turned else one for one in some])


def test_upper_limit_is_the_prediction_interval():
    # Mean 2, deviation 1, three degrees of freedom: t(0.95) = 2.3534; times sqrt(1 + 1/4).
    values = 2 + np.array([-1, -1, 1, 1]) * np.sqrt(3) / 2
    assert_allclose(upper_limit(values, 0.05), 2 + 2.3534 * np.sqrt(1.25), atol=1e-3)
    assert upper_limit([1.0, 2.0, 3.0], 0.05) == np.inf


@pytest.mark.parametrize("count", [8, 40])
def test_few_of_the_same_kind_exceed_the_limit(count):
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(20):
        known, seen, new = (generator.normal(size=(n, 12)) for n in (count, 4, 25))
        likeness = Likeness.learn(known, seen, 0.02)
        wrong += sum(likeness.distance(row) > likeness.limit for row in new)
    assert wrong <= 0.04 * 500


def test_what_lies_elsewhere_is_beyond_the_limit():
    generator = np.random.default_rng(2)
    known, seen = generator.normal(size=(40, 12)), generator.normal(size=(4, 12))
    likeness = Likeness.learn(known, seen, 0.004)
    assert likeness.distance(np.full(12, 4.0)) > likeness.limit
    assert_allclose(likeness.deviations(likeness.mean), 0)


def test_validation_cases_widen_a_limit_that_memory_has_made_narrow():
    generator = np.random.default_rng(3)
    known, seen = generator.normal(size=(40, 6)), 3 * generator.normal(size=(12, 6))
    alone, both = (Likeness.learn(known, checks, 0.01) for checks in (np.empty((0, 6)), seen))
    assert both.limit > 1.5 * alone.limit
    assert all(both.distance(row) < both.limit for row in seen)


def test_a_number_that_never_varies_has_a_floor():
    likeness = Likeness.learn(np.zeros((6, 2)), np.empty((0, 2)), 0.01, floor=0.1)
    assert_allclose(likeness.distance(np.array([0.1, 0.1])), 1.0)
    assert Likeness.learn(np.zeros((3, 2)), np.empty((0, 2)), 0.01) is None


@pytest.mark.parametrize("turned", [False, True])
def test_a_landmark_in_a_wrong_place_is_the_only_unusual_one(turned):
    arrangement = Arrangement.learn(shapes(30, turned=turned), 0.004, turned=turned)
    new = shapes(1, seed=9, turned=turned)[0]
    assert (arrangement.scores(new) < arrangement.limit).all()
    new[3] += 3 * (new[3] - new[0])
    assert_array_equal(arrangement.scores(new) > arrangement.limit, [False, False, False, True, False])
    other, known = arrangement.farthest(new, 3)
    assert other in (0, 1, 2, 4)
    assert len(known) == 30


def test_directions_count_only_where_patients_lie_alike():
    upside_down = shapes(1, seed=9)[0] * [-1, 1, -1]
    known = shapes(30)
    world, turned = (Arrangement.learn(known, 0.004, turned=turned) for turned in (False, True))
    assert (world.scores(upside_down) > world.limit).sum() >= 3
    assert (turned.scores(upside_down) < turned.limit).all()


def test_missing_landmarks_say_nothing():
    known = shapes(30)
    known[::2, 4] = np.nan
    arrangement = Arrangement.learn(known, 0.004, turned=False)
    new = shapes(1, seed=9)[0]
    new[[1, 2, 3, 4]] = np.nan
    assert np.isnan(arrangement.scores(new)).all()
    assert Arrangement.learn(known[:3], 0.004, turned=False) is None
    known[:4, 2:], known[4:8, :2], known[4:8, 4] = np.nan, np.nan, np.nan  # no two landmarks stand in enough cases
    assert Arrangement.learn(known[[0, 1, 4, 5]], 0.004, turned=False) is None


def test_all_comes_back_from_json():
    likeness, arrangement = Likeness.learn(shapes(9)[:, 0], shapes(2)[:, 0], 0.01), Arrangement(shapes(5), True, 3.0)
    back = Likeness.from_dict(json.loads(json.dumps(likeness.to_dict())))
    assert_allclose(back.distance(SHAPE[1]), likeness.distance(SHAPE[1]), rtol=1e-3)
    back = Arrangement.from_dict(json.loads(json.dumps(arrangement.to_dict())))
    assert_allclose(back.scores(SHAPE), arrangement.scores(SHAPE), rtol=1e-2)
    assert back.turned is True
    assert listed(np.array([[np.nan, 1 / 3]])) == [[None, 0.33333]]
    with pytest.raises(ValueError, match="rows must be a table of numbers"):
        Likeness.from_dict({"rows": [[1.0]], "limit": 1, "floor": 0})
    with pytest.raises(ValueError, match="shapes must be a table of points"):
        Arrangement.from_dict({"shapes": [[1.0]], "limit": 1, "turned": False})
