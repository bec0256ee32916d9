"""Points paired by name, and points of one name by where they lie."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lmk3d.apps.pairing import pair_landmarks
from lmk3d.errors import InputError
from lmk3d.geometry import random_rotation
from lmk3d.landmarks import Landmarks

PLANE = (np.eye(3)[:, :2],) * 2
GONE = [np.nan] * 3
SPINE = np.array([[0.0, 0, 0], [2, -30, 0], [-1, -62, 0], [3, -90, 0]])  # film: a column of processes


def turned(points, angle, shift=(0, 0, 0)):
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]).T + np.asarray(shift, float)


def test_unique_names_are_paired_whatever_their_order():
    moving = Landmarks(("a", "b", "c", "d"), [[0, 0, 0], [1, 0, 0], GONE, [0, 1, 0]])
    fixed = Landmarks(("d", "e", "c", "a"), np.eye(4, 3))
    assert pair_landmarks(moving, fixed) == [(0, 3), (3, 0)]


def test_processes_are_matched_though_one_is_missing_and_their_order_is_another():
    moving = Landmarks(("carina", *["process"] * 4), [[20, -20, 0], *SPINE])
    order = [2, 0, 3]
    fixed = Landmarks((*["process"] * 3, "carina"), turned([*SPINE[order], [20, -20, 0]], 0.3, (40, -70, 0)))
    assert pair_landmarks(moving, fixed, axes=PLANE) == [(0, 3), (1, 1), (3, 0), (4, 2)]


def test_noise_does_not_change_the_matching():
    generator = np.random.default_rng(0)
    for _ in range(5):
        order = generator.permutation(4)
        noise = generator.normal(size=(5, 3)) * [1.5, 1.5, 0]
        points = turned([[30, -20, 0], *SPINE[order]], generator.uniform(-0.5, 0.5), (9, 5, 0)) + noise
        moving = Landmarks(("carina", *["process"] * 4), [[30, -20, 0], *SPINE])
        rows = pair_landmarks(moving, Landmarks(moving.names, points), axes=PLANE)
        assert_array_equal([order[fixed - 1] for row, fixed in rows[1:]], [row - 1 for row, fixed in rows[1:]])
        assert len(rows) == 5


def test_instances_in_space_are_matched_in_any_pose():
    generator = np.random.default_rng(1)
    points = generator.normal(size=(7, 3)) * 40
    order = generator.permutation(5)
    names = ("one", "two", *["rib"] * 5)
    fixed = np.concatenate([points[:2], points[2:][order]]) @ random_rotation(generator).T + 30
    rows = dict(pair_landmarks(Landmarks(names, points), Landmarks(names, fixed)))
    assert [rows[2 + int(row)] for row in order] == [2, 3, 4, 5, 6]


def test_magnified_films_are_matched_when_told_so():
    points = np.concatenate([[[40.0, -30, 0]], SPINE])
    names = ("carina", *["process"] * 4)
    fixed = Landmarks(names, turned(points[[0, 3, 1, 2, 4]] * 1.4, 0.2))
    rows = pair_landmarks(Landmarks(names, points), fixed, axes=PLANE, rigid=False)
    assert rows == [(0, 0), (1, 2), (2, 3), (3, 1), (4, 4)]


def test_points_without_a_partner_nearby_stay_alone():
    points = np.concatenate([[[40.0, -30, 0], [-35, -50, 0]], SPINE])
    names = ("carina", "hilum", *["process"] * 4)
    other = points.copy()
    other[4] += [25, 3, 0]  # another structure, taken for a process
    rows = pair_landmarks(Landmarks(names, points), Landmarks(names, other), axes=PLANE)
    assert rows == [(0, 0), (1, 1), (2, 2), (3, 3), (5, 5)]


def test_an_even_column_that_can_be_shifted_is_refused():
    column = np.array([[0.0, -30 * row, 0] for row in range(4)])
    moving, fixed = Landmarks(["process"] * 3, column[:3]), Landmarks(["process"] * 2, column[1:3])
    with pytest.raises(InputError, match=r"points of one name can be matched in two ways \(.* apart on average\); add"):
        pair_landmarks(moving, fixed, axes=PLANE)


def test_no_common_name_is_refused_with_both_lists():
    with pytest.raises(InputError, match=r"both sides \(moving has a, b; fixed has c\); give the same names"):
        pair_landmarks(Landmarks(("a", "b"), np.eye(2, 3)), Landmarks(("c",), np.eye(1, 3)))


def test_too_few_instances_to_tell_are_refused():
    two = Landmarks(("rib", "rib"), [[0, 0, 0], [30, 0, 0]])
    with pytest.raises(InputError, match="the points of rib cannot be told apart; add landmarks that stand once"):
        pair_landmarks(two, two)
