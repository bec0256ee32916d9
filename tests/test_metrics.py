"""Errors, matching, summaries and what they are measured by."""

import itertools
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.geometry import apply_affine, random_rotation
from lmk3d.landmarks import Landmarks
from lmk3d.metrics import (
    MissingScore,
    Summary,
    aligned_mean_shape,
    compare,
    errors_by_name,
    match_points,
    mean_shape,
    mean_shape_errors,
    missing_score,
    patient_rates,
    rater_errors,
    statistics,
    summarise,
    unique_points,
)

GONE = [np.nan] * 3


def test_a_distance_is_euclidean_and_keeps_what_the_prediction_said():
    truth = Landmarks(("apex", "root"), [[1, 2, 3], [0, 0, 0]])
    predicted = Landmarks(("root", "apex"), [[0, 0, 2], [4, 6, 3]], confidence=[0.9, 0.4], error_mm=[1.5, 3.0])
    apex, root = compare(truth, predicted, ("apex", "root"), case="a")
    assert (apex.case, apex.name, apex.instance, apex.status) == ("a", "apex", 0, "found")
    assert (apex.error_mm, apex.confidence, apex.expected_mm) == (5.0, 0.4, 3.0)  # 3, 4, 5
    assert (root.error_mm, root.confidence, root.expected_mm) == (2.0, 0.9, 1.5)


def test_the_four_states_of_a_landmark_are_told_apart():
    names = ("found", "missed", "false", "absent", "no row")
    truth = Landmarks(names[:4], [[0, 0, 0], [0, 0, 0], GONE, GONE])
    predicted = Landmarks(names[:4], [[0, 0, 1], GONE, [1, 1, 1], GONE], confidence=[0.9, 0.2, 0.6, 0.1])
    rows = compare(truth, predicted, names)
    assert [row.status for row in rows] == ["found", "missed", "false", "absent", "absent"]
    assert_array_equal([row.error_mm for row in rows], [1, np.nan, np.nan, np.nan, np.nan])
    # A missing row still says how sure the detector was; a name it never mentioned has nothing to say.
    assert_array_equal([row.confidence for row in rows], [0.9, 0.2, 0.6, 0.1, np.nan])


def test_units_are_not_mixed():
    films = Landmarks(("a",), [[0, 0, 0]], unit="px")
    with pytest.raises(ValueError, match="truth is in px, the prediction in mm; compare points of one unit"):
        compare(films, Landmarks(("a",), [[0, 0, 0]]), ("a",))


def test_matching_takes_the_least_total_and_not_the_nearest_first():
    # Nearest first would pair 1 with 1.9 (0.9) and leave 0 with 4 (4.0); the best total is 1.9 + 3.0.
    pairs = match_points([[0, 0, 0], [1, 0, 0]], [[1.9, 0, 0], [4, 0, 0]])
    assert pairs == [(0, 0), (1, 1)]


def test_matching_agrees_with_trying_every_assignment():
    generator = np.random.default_rng(1)
    for _ in range(30):
        truth, predicted = generator.uniform(0, 10, (4, 3)), generator.uniform(0, 10, (5, 3))
        distance = np.linalg.norm(truth[:, None] - predicted[None], axis=-1)
        best = min(distance[range(4), list(order)].sum() for order in itertools.permutations(range(5), 4))
        pairs = match_points(truth, predicted)
        assert len(pairs) == 4
        assert sum(distance[pair] for pair in pairs) == pytest.approx(best)


def test_a_limit_drops_far_pairs_and_keeps_a_good_one_whole():
    # 0-0 fits exactly; tearing it apart would give two pairs of 9, both under the limit of 10.
    truth, predicted = [[0, 0, 0], [9, 0, 0]], [[0, 0, 0], [-9, 0, 0]]
    assert match_points(truth, predicted, limit_mm=10) == [(0, 0)]
    assert match_points([[0, 0, 0]], [[10, 0, 0]], limit_mm=10) == [(0, 0)]  # exactly at the limit counts
    assert match_points([[0, 0, 0]], [[10.01, 0, 0]], limit_mm=10) == []
    assert match_points(np.empty((0, 3)), [[1, 2, 3]]) == []


def test_instances_of_one_name_are_matched_and_the_rest_counted():
    truth = Landmarks(("spine", "spine", "spine", "carina"), [[0, 0, 0], [0, 0, 10], [0, 0, 20], [5, 5, 5]])
    predicted = Landmarks(("spine", "carina", "spine", "spine"), [[0, 0, 21], [5, 5, 6], [0, 2, 0], [0, 0, 50]])
    rows = compare(truth, predicted, ("spine", "carina"), limit_mm=5)
    assert [(row.name, row.instance, row.status) for row in rows] == [
        ("spine", 0, "found"),
        ("spine", 1, "missed"),
        ("spine", 2, "found"),
        ("spine", 3, "false"),
        ("carina", 0, "found"),
    ]
    assert_array_equal(errors_by_name(rows, ("spine",))["spine"], [2, np.nan, 1])


def test_statistics_by_hand():
    found = statistics([3.0, 1.0, 2.0, 10.0], sdr_mm=(1, 2.5, 20))
    assert (found.n, found.missed, found.mean, found.median, found.max) == (4, 0, 4.0, 2.5, 10.0)
    assert found.std == pytest.approx(np.sqrt((1 + 9 + 4 + 36) / 4))
    assert found.p95 == pytest.approx(3 + 0.85 * 7)  # rank 0.95 * 3 = 2.85, between the third and the fourth value
    assert found.sdr == {1.0: 0.25, 2.5: 0.5, 20.0: 1.0}


def test_statistics_agree_with_scipy():
    from scipy import stats

    values = np.random.default_rng(2).gamma(2.0, 1.0, 101)
    found = statistics(values, sdr_mm=(1.5,))
    assert found.mean == pytest.approx(stats.describe(values).mean)
    assert found.std == pytest.approx(stats.tstd(values, ddof=0))
    assert found.p95 == pytest.approx(stats.scoreatpercentile(values, 95))
    assert found.sdr[1.5] == pytest.approx(stats.percentileofscore(values, 1.5) / 100)


def test_a_missed_point_fails_every_rate_and_touches_no_mean():
    found = statistics([1.0, np.nan, 3.0, np.nan], sdr_mm=(2, 100))
    assert (found.n, found.missed, found.mean) == (2, 2, 2.0)
    assert found.sdr == {2.0: 0.25, 100.0: 0.5}


def test_an_error_just_at_the_distance_is_within_it():
    assert statistics([np.hypot(0.3, 0.4)], sdr_mm=(0.5,)).sdr[0.5] == 1.0
    assert statistics([0.1 + 0.2], sdr_mm=(0.3,)).sdr[0.3] == 1.0  # 0.30000000000000004


def test_nothing_measured_gives_nan_and_no_warning():
    for values, rate in (([], np.nan), ([np.nan], 0.0)):
        found = statistics(values, sdr_mm=(2,))
        assert found.n == 0
        assert_array_equal([found.mean, found.median, found.std, found.p95, found.max], np.full(5, np.nan))
        assert_array_equal(found.sdr[2.0], rate)


def test_overall_weighs_points_not_landmarks():
    found = summarise({"a": [1.0, 1.0, 1.0], "b": [5.0]})
    assert found.overall.mean == 2.0
    assert found.landmarks["b"].mean == 5.0


def test_missing_scores_by_hand():
    names = ("a", "b")
    truth = [Landmarks(names, points) for points in ([[0, 0, 0], GONE], [[0, 0, 0], GONE], [GONE, [0, 0, 0]])]
    said = [Landmarks(names, points) for points in ([[0, 0, 0], GONE], [GONE, [1, 1, 1]], [GONE, GONE])]
    rows = [row for k in range(3) for row in compare(truth[k], said[k], names, case=str(k))]
    score = missing_score(rows)  # reported: 0b, 1a, 2a, 2b; truly absent: 0b, 1b, 2a; both: 0b, 2a
    assert (score.both, score.reported, score.absent) == (2, 4, 3)
    assert score.precision == 0.5
    assert score.recall == pytest.approx(2 / 3)


def test_missing_scores_count_a_name_once_however_many_instances():
    truth = Landmarks(("s", "s"), [[0, 0, 0], [0, 0, 9]])
    rows = compare(truth, Landmarks(("s",), [[0, 0, 40]]), ("s",), limit_mm=5)
    assert [row.status for row in rows] == ["missed", "missed", "false"]
    score = missing_score(rows)  # s is there and was predicted, though in the wrong place
    assert (score.both, score.reported, score.absent) == (0, 0, 0)
    assert np.isnan([score.precision, score.recall]).all()


def test_a_rater_who_left_a_point_out_made_no_mistake():
    truth = Landmarks(("a", "b"), [[0, 0, 0], [0, 0, 0]])
    found = rater_errors(truth, Landmarks(("a",), [[0, 3, 4]]), ("a", "b"))
    assert_array_equal(found["a"], [5.0])
    assert len(found["b"]) == 0


def test_a_name_with_two_instances_has_no_place_in_a_shape():
    marks = Landmarks(("a", "s", "s", "b"), [[1, 2, 3], [0, 0, 0], [1, 1, 1], GONE])
    assert_array_equal(unique_points(marks, ("b", "a", "s")), [GONE, [1, 2, 3], GONE])


def test_mean_shape_leaves_missing_points_out():
    shapes = [[[0, 0, 0], [2, 0, 0], GONE], [[4, 0, 2], GONE, GONE]]
    assert_array_equal(mean_shape(shapes), [[2, 0, 1], [2, 0, 0], GONE])
    errors = mean_shape_errors(shapes, [[[2, 3, 5], [2, 0, 0], [1, 1, 1]]])
    assert_array_equal(errors, [[5, 0, np.nan]])


def posed(shape, seed):
    generator = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = random_rotation(generator), generator.uniform(-50, 50, 3)
    return apply_affine(affine, shape)


def test_one_shape_in_many_poses_has_no_error_once_aligned():
    shape = np.random.default_rng(3).uniform(-10, 10, (6, 3))
    training, truth = [posed(shape, seed) for seed in range(5)], [posed(shape, seed) for seed in range(5, 8)]
    assert mean_shape_errors(training, truth, align=True).max() < 1e-9
    assert mean_shape_errors(training, truth).mean() > 5  # the plain mean knows no pose
    mirrored = np.array(truth) * [-1, 1, 1]
    assert mean_shape_errors(training, mirrored, align=True).max() > 1  # a mirrored skull is another skull


def test_aligned_error_by_hand():
    # A square and a rectangle, centred: their mean has half sides 1 and 1.5, half a millimetre from each corner.
    corners = np.array([[1, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]], dtype=float)
    square, rectangle = corners, corners * [1, 2, 1]
    errors = mean_shape_errors([square, posed(rectangle, 4)], [rectangle + 7, square], align=True)
    assert_allclose(errors, 0.5, atol=1e-9)


def test_aligned_mean_does_not_scale():
    shape = np.random.default_rng(5).uniform(-10, 10, (5, 3))
    mean = aligned_mean_shape([shape, posed(3 * shape, 6)])
    size = np.linalg.norm(mean - mean.mean(0))
    assert size == pytest.approx(2 * np.linalg.norm(shape - shape.mean(0)))


def test_aligned_mean_fills_points_that_only_some_shapes_have():
    shape = np.random.default_rng(7).uniform(-10, 10, (6, 3))
    training = [posed(shape, seed) for seed in range(4)]
    training[0][0], training[1][1], training[2][:4] = np.nan, np.nan, np.nan  # the third has no pose left
    truth = posed(shape, 9)
    truth[5] = np.nan
    errors = mean_shape_errors(training, [truth, np.full((6, 3), np.nan)], align=True)
    assert errors[0, :5].max() < 1e-9
    assert np.isnan(errors[0, 5])
    assert np.isnan(errors[1]).all()


def test_no_training_shape_or_none_with_a_pose_gives_nan():
    assert np.isnan(mean_shape_errors(np.empty((0, 3, 3)), np.zeros((1, 3, 3)), align=True)).all()
    lonely = [[[0, 0, 0], GONE, GONE]]
    assert np.isnan(mean_shape_errors(lonely, np.zeros((1, 3, 3)), align=True)).all()


def test_a_summary_becomes_valid_json():
    result = summarise({"a": [1.0, np.nan], "b": []}, sdr_mm=(0.5, 2))
    plain = Summary("px", 2, result, MissingScore(0, 1, 0), {"coarse": result}, ("note",)).as_dict()
    again = json.loads(json.dumps(plain, allow_nan=False))
    assert again["unit"] == "px"
    assert again["result"]["landmarks"]["a"]["sdr"] == {"0.5": 0.0, "2": 0.5}
    assert again["result"]["landmarks"]["b"]["mean"] is None
    assert again["missing"] == {"both": 0, "reported": 1, "absent": 0, "precision": 0.0, "recall": None}
    assert again["beside"]["coarse"]["overall"]["n"] == 1


def test_a_patient_is_right_when_one_of_its_points_is():
    truth = Landmarks(("a", "a", "b"), [[0.0, 0, 0], [50, 0, 0], [9, 9, 9]])
    near = Landmarks(("a", "a", "b"), [[3.0, 0, 0], [70, 0, 0], [9, 9, 9]])
    far = Landmarks(("a", "b"), [[20.0, 0, 0], [9, 9, 9]])
    none = Landmarks(("b",), [[9.0, 9, 9]])
    absent = Landmarks(("b",), [[9.0, 9, 9]])
    rows = [
        row
        for case, (true, found) in enumerate([(truth, near), (truth, far), (truth, none), (absent, near)])
        for row in compare(true, found, ("a", "b"), case=str(case))
    ]
    # Three cases show a: one has a point within 3, another only at 20, the third none. b has one point a case.
    assert patient_rates(rows, ("a", "b"), (2.0, 3.0, 20.0)) == {"a": {2.0: 0.0, 3.0: 1 / 3, 20.0: 2 / 3}}
