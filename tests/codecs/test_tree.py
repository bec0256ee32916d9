"""The tree over neighbouring landmarks: what it learns, and that its choice is the best of all."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.codecs import LandmarkTree

COLUMN = np.array([[0.0, 0, -36 * level] for level in range(5)])  # five vertebrae, 36 mm apart
ALL = np.ones(5, dtype=bool)


def shapes_of(column, generator, count=30, sigma=1.0):
    return (
        column + generator.normal(scale=sigma, size=(count, *column.shape)) + generator.normal(size=(count, 1, 3)) * 30
    )


@pytest.fixture
def tree():
    return LandmarkTree.from_shapes(shapes_of(COLUMN, np.random.default_rng(0)))


def test_neighbours_are_joined_and_their_steps_are_learnt(tree):
    assert_array_equal(tree.parents, [-1, 0, 1, 2, 3])
    assert_allclose(tree.steps_mm[1:], np.tile([0, 0, -36], (4, 1)), atol=1)
    doubt = 3 / 33 * (0.15 * 36) ** 2  # of three shapes beside 30
    assert_allclose(tree.covariances[1:], np.tile((2 * 30 / 33 + doubt) * np.eye(3), (4, 1, 1)), atol=1.5)


def test_missing_points_are_left_out_of_the_steps():
    shapes = shapes_of(COLUMN, np.random.default_rng(1), sigma=1e-3)
    shapes[::2, 2] = np.nan
    shapes[:, 4] = np.nan  # of which nothing is known
    tree = LandmarkTree.from_shapes(shapes)
    assert_allclose(tree.steps_mm[1:4], np.tile([0, 0, -36], (3, 1)), atol=0.01)
    assert np.sqrt(tree.covariances[4]).max() > 900  # anywhere within a metre
    lonely = LandmarkTree.from_shapes([COLUMN])
    assert np.all(np.sqrt(lonely.covariances[1:, 0, 0]) > 4)  # one shape says little


def test_a_column_counted_one_off_in_part_is_put_right(tree):
    """Two maps are highest on the next vertebra, as a network does where it is unsure; the others outvote them."""
    peaks = np.stack([COLUMN, np.roll(COLUMN, -1, axis=0)], axis=1)
    peaks[4, 1] = COLUMN[4] - [0, 0, 36]
    weights = np.tile([0.6, 0.3], (5, 1))
    peaks[1:3] = peaks[1:3, ::-1]
    assert_array_equal(tree.chosen(peaks, weights, ALL, noise_mm=2.0), [0, 1, 1, 0, 0])


@pytest.mark.parametrize("seed", range(30))
def test_the_choice_is_the_best_of_all(seed):
    """Every choice there is, tried one by one."""
    generator = np.random.default_rng(seed)
    column = generator.uniform(-40, 40, size=(5, 3))
    tree = LandmarkTree.from_shapes(shapes_of(column, generator, sigma=3.0))
    peaks = column[:, None] + generator.normal(scale=12, size=(5, 3, 3))
    weights = generator.uniform(size=(5, 3))
    present = generator.uniform(size=5) < 0.8
    peaks[1, 2], weights[1, 2] = np.nan, 0.0
    chosen = tree.chosen(peaks, weights, present, noise_mm=1.5)

    def worth(choice):
        at = peaks[np.arange(5), choice]
        total = np.log(np.maximum(weights / weights.max(1, keepdims=True), 1e-3))[present, choice[present]].sum()
        for child in range(5):
            parent = tree.parents[child]
            if parent >= 0 and present[child] and present[parent]:
                off = at[child] - at[parent] - tree.steps_mm[child]
                square = off @ np.linalg.solve(tree.covariances[child] + 2 * 1.5**2 * np.eye(3), off)
                total -= min(square / 2, 12.5)
        return total

    tried = [np.array(one) for one in itertools.product(range(3), range(3 - 1), range(3), range(3), range(3))]
    assert_allclose(worth(chosen), max(map(worth, tried)), atol=1e-9)
    assert not chosen[~present].any()


def test_a_patient_unlike_all_keeps_sure_peaks(tree):
    """A step that no training shape had costs no more than five standard deviations' worth."""
    bent = COLUMN * [1, 1, 0.4]  # a column of less than half the length
    peaks = np.stack([bent, np.full_like(bent, np.nan)], axis=1)
    assert_array_equal(tree.chosen(peaks, np.tile([0.9, 0.0], (5, 1)), ALL, noise_mm=2.0), np.zeros(5))


def test_landmarks_without_any_peak_do_no_harm(tree):
    peaks = np.stack([COLUMN, COLUMN + np.array([9, 0, 0])], axis=1)
    peaks[2], weights = np.nan, np.tile([0.5, 0.4], (5, 1))
    weights[2] = 0
    chosen = tree.chosen(peaks, weights, ALL, noise_mm=2.0)
    assert_array_equal(chosen[[0, 1, 3, 4]], np.zeros(4))


def test_many_landmarks_take_no_time():
    """720 landmarks, four peaks each: a tree of all pairs would hold half a million steps."""
    generator = np.random.default_rng(5)
    points = generator.uniform(-200, 200, size=(720, 3))
    tree = LandmarkTree.from_shapes(points + generator.normal(size=(6, 720, 3)))
    peaks = points[:, None] + generator.normal(scale=[[[0.1]], [[60.0]]], size=(2, 720, 3)).transpose(1, 0, 2)
    chosen = tree.chosen(peaks, np.tile([0.5, 0.5], (720, 1)), np.ones(720, dtype=bool), noise_mm=1.0)
    assert_array_equal(chosen, np.zeros(720))


def test_ways_lead_both_ways_along_each_edge_and_have_numbers_of_their_own(tree):
    ways = tree.ways()
    assert len(ways) == 8
    assert sorted(number for _, _, number in ways) == [1, 2, 3, 4, 6, 7, 8, 9]
    for start, end, number in ways:
        assert tree.parents[end] == start if number < 5 else tree.parents[start] == end
        assert number % 5 == (end if number < 5 else start)
