"""Radii by conformal prediction: ranks by hand, and the coverage of simulated patients."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_equal

from lmk3d.conformal import Radii, image_key
from lmk3d.geometry import Grid, Volume


def ladder(count, landmarks=1):
    """Scores 1, 2, ..., count for every landmark."""
    errors = np.tile(2.0 * np.arange(1, count + 1)[:, None], (1, landmarks))
    return Radii.fit(errors, np.full(errors.shape, 2.0))


def drawn(random, cases, landmarks):
    """Errors with heavy tails, alike in one patient, and the scales claimed for them, which tell only part of it."""
    patient = np.exp(random.normal(0, 0.5, (cases, 1)))
    landmark = np.linspace(0.5, 2, landmarks)
    scale = np.exp(random.normal(0, 0.3, (cases, landmarks)))
    return np.linalg.norm(random.standard_t(2.5, (cases, landmarks, 3)), axis=2) * patient * landmark * scale, scale


def binomial_band(share, trials):
    """Four standard deviations to either side: one test in 16,000 leaves it by chance."""
    return 4 * np.sqrt(share * (1 - share) / trials)


@pytest.mark.parametrize(("count", "coverage", "rank"), [(9, 0.9, 9), (19, 0.9, 18), (30, 0.9, 28), (39, 0.5, 20)])
def test_the_radius_is_the_score_of_rank_coverage_times_n_plus_1(count, coverage, rank):
    assert_equal(ladder(count).factors(coverage), [rank])
    assert ladder(count).given(coverage) == coverage


def test_eight_patients_give_eight_ninths():
    assert ladder(8).given(0.9) == pytest.approx(8 / 9)
    assert_equal(ladder(8).factors(0.9), [8])
    assert ladder(8).described(0.9) == (
        "each radius holds the ground truth in 88.89 % of new patients, not in 90 %: 8 validation patients allow no"
        " more"
    )
    assert ladder(30).described(0.9) == (
        "each radius holds the ground truth in 90 % of new patients (from 30 validation patients)"
    )


def test_a_missed_landmark_counts_as_uncovered():
    errors = np.arange(1.0, 21)[:, None]
    errors[3] = np.inf
    radii = Radii.fit(errors, np.ones(errors.shape))
    assert_equal(radii.factors(0.9), [20])  # rank 19 of 20: the missed one is the last
    errors[:3] = np.inf
    assert Radii.fit(errors, np.ones(errors.shape)).given(0.9) == pytest.approx(16 / 21)


def test_a_gross_failure_is_not_dropped():
    errors = np.ones((9, 1))
    errors[2] = 400.0
    assert_equal(Radii.fit(errors, np.ones((9, 1))).factors(0.9), [400])


def test_a_landmark_marked_too_seldom_has_no_radius():
    errors = np.tile(np.arange(1.0, 20)[:, None], (1, 3))
    errors[4:, 2] = np.nan
    radii = Radii.fit(errors, np.ones(errors.shape))
    assert radii.given(0.9) == 0.9
    assert_equal(radii.factors(0.9), [18, 18, np.nan])
    assert_equal(radii.factors(0.75), [15, 15, 4])


def test_nothing_known_gives_no_radius():
    radii = Radii.fit(np.full((3, 2), np.nan), np.ones((3, 2)))
    assert radii.given(0.9) is None
    assert_equal(radii.factors(0.9), [np.nan, np.nan])
    assert radii.described(0.9).startswith("no radius can be given from 3 validation patients")
    assert Radii.fit(np.full((3, 2), np.inf), np.ones((3, 2))).given(0.9) is None


def test_cases_of_one_patient_weigh_as_much_as_one():
    errors = np.array([[1.0], [2.0], [3.0], [9.0], [9.0], [9.0]])
    radii = Radii.fit(errors, np.ones((6, 1)), patients=("a", "b", "c", "d", "d", "d"))
    assert len(radii) == 4
    assert_equal(radii.factors(0.6), [3])  # three of four patients; the fourth's scores are no three patients'
    assert radii.given(0.9) == pytest.approx(4 / 5)


def test_pooled_folds_count_all_patients_and_ensembles_of_one_split_none_twice():
    one, other = ladder(8), Radii(ladder(8).scores + 8, tuple(f"other {row}" for row in range(8)))
    assert len(Radii.pooled([one, other])) == 16
    assert_equal(Radii.pooled([one, other]).factors(0.9), [16])
    assert len(Radii.pooled([one, one])) == 8
    assert_equal(Radii.pooled([one, one]).factors(0.5), one.factors(0.5))
    with pytest.raises(ValueError, match=r"same landmarks, got \[1, 2\]"):
        Radii.pooled([one, ladder(8, 2)])


@pytest.mark.parametrize("count", [8, 14, 30, 39])
def test_coverage_of_simulated_patients_is_what_is_claimed(count):
    random, trials = np.random.default_rng(count), 2000
    inside = np.zeros(5)
    for _ in range(trials):
        factors = Radii.fit(*drawn(random, count, 5)).factors(0.9)
        errors, scales = drawn(random, 1, 5)
        inside += errors[0] <= factors * scales[0]
    share = min(np.ceil(0.9 * (count + 1)), count) / (count + 1)
    assert_allclose(inside / trials, share, rtol=0, atol=binomial_band(share, trials))


def test_coverage_holds_for_patients_with_several_cases():
    random, trials, inside = np.random.default_rng(3), 2000, 0
    patients = tuple(f"{number}" for number in range(12) for _ in range(number % 3 + 1))
    for _ in range(trials):
        size = {name: float(np.exp(random.normal(0, 1))) for name in dict.fromkeys(patients)}
        errors = np.array([[size[name] * random.random()] for name in patients])
        factor = Radii.fit(errors, np.ones(errors.shape), patients).factors(0.9)[0]
        inside += np.exp(random.normal(0, 1)) * random.random() <= factor
    assert inside / trials >= 0.9 - binomial_band(0.9, trials)


def test_pooling_landmarks_would_need_larger_radii_with_few_patients():
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(50):
        errors, scales = drawn(random, 8, 20)
        ratios.append((errors / scales).max() / np.median(Radii.fit(errors, scales).factors(0.9)))
    assert np.median(ratios) > 2


def test_radii_survive_a_file():
    scores = np.array([[1.23456, np.nan], [np.inf, 0.00012345]])
    radii = Radii.from_dict(json.loads(json.dumps(Radii(scores, ("a", "b")).to_dict(), allow_nan=False)))
    assert radii.patients == ("a", "b")
    assert_allclose(radii.scores, scores, rtol=1e-3)


@pytest.mark.parametrize(
    "content", [None, [], {}, {"patients": ["a"], "scores": 3}, {"patients": ["a"], "scores": [["x"]]}]
)
def test_another_table_is_refused(content):
    with pytest.raises(ValueError, match=r"^radii: "):
        Radii.from_dict(content)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"both, got \(2, 3\) and \(3, 2\)"):
        Radii.fit(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="scales must be above 0"):
        Radii.fit(np.ones((2, 1)), np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="one row for each patient"):
        Radii(np.ones((2, 1)), ("a",))
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        Radii(-np.ones((1, 1)), ("a",))
    with pytest.raises(ValueError, match="between 0 and 1, got 90"):
        ladder(8).given(90)


def test_copies_of_an_image_have_one_key():
    data = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    grid = Grid((2, 3, 4), np.eye(4))
    assert image_key(Volume(data, grid)) == image_key(Volume(np.asfortranarray(data.astype(np.int32)), grid))
    assert len(image_key(Volume(data, grid))) == 16
    assert image_key(Volume(data, grid)) != image_key(Volume(data + 1, grid))
