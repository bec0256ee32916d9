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
    points, chosen = tree.chosen(peaks, weights, ALL, noise_mm=2.0)
    assert_array_equal(points, COLUMN)
    assert_array_equal(chosen, [0.6, 0.3, 0.3, 0.6, 0.6])


def test_a_landmark_whose_map_does_not_show_it_lies_where_its_neighbours_say(tree):
    peaks = np.stack([COLUMN, COLUMN + np.array([0, 0, 90])], axis=1)
    peaks[2] = COLUMN[2] + np.array([[0, 36, 36], [0, -50, 0]])  # both wrong, and sure of it
    points, weights = tree.chosen(peaks, np.tile([0.9, 0.1], (5, 1)), ALL, noise_mm=2.0)
    assert_allclose(points, COLUMN, atol=1.5)
    assert_array_equal(weights == 0, [False, False, True, False, False])
    # At the end of the column one wrong step is no reason: this patient's may be that long.
    peaks[[2, 4]] = peaks[[4, 2]] + [[[0, 0, 72]], [[0, 0, -72]]]
    points, _ = tree.chosen(peaks, np.tile([0.9, 0.1], (5, 1)), ALL, noise_mm=2.0)
    assert_array_equal(points, peaks[:, 0])


def test_what_else_is_unlikely_is_weighed_with_the_peaks(tree):
    """All are seen one vertebra too low, a little better than where they are."""
    peaks = np.stack([COLUMN - [0, 0, 36], COLUMN], axis=1)
    weights = np.tile([0.6, 0.4], (5, 1))
    assert_array_equal(tree.chosen(peaks, weights, ALL, noise_mm=2.0)[0], peaks[:, 0])

    def low(places):
        return 0.5 * (places[..., 2] < COLUMN[:, None, 2] - 18)

    assert_array_equal(tree.chosen(peaks, weights, ALL, noise_mm=2.0, unlikely=low)[0], COLUMN)


def candidates(tree, peaks, weights, present):
    """(4, 4, 3) places and (4, 4) nats: two peaks each, then the two places that the neighbours' best peaks lead to."""
    nats = np.log(np.maximum(weights / weights.max(1, keepdims=True), 1e-3))
    places, nats = np.concatenate([peaks, np.full_like(peaks, np.nan)], 1), np.concatenate([nats, nats - np.inf], 1)
    for landmark in range(4):
        led = []
        for child, parent in enumerate(tree.parents):
            if landmark == child and parent >= 0 and present[parent]:
                led += [(weights[parent, k], peaks[parent, k] + tree.steps_mm[child]) for k in range(2)]
            if landmark == parent and present[child]:
                led += [(weights[child, k], peaks[child, k] - tree.steps_mm[child]) for k in range(2)]
        for k, (_, place) in enumerate(sorted(led, key=lambda one: -one[0])[:2]):
            places[landmark, 2 + k], nats[landmark, 2 + k] = place, -12.5
    return places, nats


@pytest.mark.parametrize("seed", range(30))
def test_the_choice_is_the_best_of_all(seed):
    """Every choice there is, tried one by one."""
    generator = np.random.default_rng(seed)
    column = generator.uniform(-40, 40, size=(4, 3))
    tree = LandmarkTree.from_shapes(shapes_of(column, generator, sigma=3.0))
    peaks = column[:, None] + generator.normal(scale=20, size=(4, 2, 3))
    weights = generator.uniform(size=(4, 2))
    present = generator.uniform(size=4) < 0.8
    places, nats = candidates(tree, peaks, weights, present)
    found, _ = tree.chosen(peaks, weights, present, noise_mm=1.5)
    chosen = np.linalg.norm(np.nan_to_num(places, nan=1e9) - found[:, None], axis=2).argmin(1)

    def worth(choice):
        at, total = places[np.arange(4), choice], nats[present, choice[present]].sum()
        for child in range(4):
            parent = tree.parents[child]
            if parent >= 0 and present[child] and present[parent]:
                off = at[child] - at[parent] - tree.steps_mm[child]
                square = off @ np.linalg.solve(tree.covariances[child] + 2 * 1.5**2 * np.eye(3), off)
                total -= min(square / 2, 12.5)
        return total if np.isfinite(at).all() else -np.inf

    tried = [worth(np.array(one)) for one in itertools.product(range(4), repeat=4)]
    assert_allclose(worth(chosen), max(tried), atol=1e-9)
    assert not chosen[~present].any()


def test_a_patient_unlike_all_keeps_sure_peaks(tree):
    """A step that no training shape had costs no more than five standard deviations' worth."""
    bent = COLUMN * [1, 1, 0.4]  # a column of less than half the length
    peaks = np.stack([bent, np.full_like(bent, np.nan)], axis=1)
    assert_array_equal(tree.chosen(peaks, np.tile([0.9, 0.0], (5, 1)), ALL, noise_mm=2.0)[0], bent)


def test_landmarks_without_any_peak_do_no_harm(tree):
    peaks = np.stack([COLUMN, COLUMN + np.array([9, 0, 0])], axis=1)
    peaks[2], weights = np.nan, np.tile([0.5, 0.4], (5, 1))
    weights[2] = 0
    points, _ = tree.chosen(peaks, weights, ALL, noise_mm=2.0)
    assert_array_equal(points[[0, 1, 3, 4]], COLUMN[[0, 1, 3, 4]])
    assert np.isnan(points[2]).all()


def test_many_landmarks_take_no_time():
    """720 landmarks, four peaks each: a tree of all pairs would hold half a million steps."""
    generator = np.random.default_rng(5)
    points = generator.uniform(-200, 200, size=(720, 3))
    tree = LandmarkTree.from_shapes(points + generator.normal(size=(6, 720, 3)))
    peaks = points[:, None] + generator.normal(scale=[[[0.1]], [[60.0]]], size=(2, 720, 3)).transpose(1, 0, 2)
    found, _ = tree.chosen(peaks, np.tile([0.5, 0.5], (720, 1)), np.ones(720, dtype=bool), noise_mm=1.0)
    assert_array_equal(found, peaks[:, 0])


def test_ways_lead_both_ways_along_each_edge_and_have_numbers_of_their_own(tree):
    ways = tree.ways()
    assert len(ways) == 8
    assert sorted(number for _, _, number in ways) == [1, 2, 3, 4, 6, 7, 8, 9]
    for start, end, number in ways:
        assert tree.parents[end] == start if number < 5 else tree.parents[start] == end
        assert number % 5 == (end if number < 5 else start)
