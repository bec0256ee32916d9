"""What training shapes say: mean, covariance, fits to peaks, and the posterior."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.codecs import ShapeModel
from lmk3d.geometry import apply_affine, fit_similarity, random_rotation

COUNT = 12


def random_pose(generator, scale=1.0):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = scale * random_rotation(generator), generator.uniform(-100, 100, size=3)
    return pose


@pytest.fixture
def model():
    """Twelve landmarks in a 30 mm box that vary by about 0.5 mm, together."""
    generator = np.random.default_rng(0)
    mean = generator.uniform(-15, 15, size=(COUNT, 3))
    factors = generator.normal(scale=0.1, size=(3 * COUNT, 10))
    return ShapeModel(mean - mean.mean(0), factors @ factors.T + 0.05 * np.eye(3 * COUNT))


def peaks_of(points, generator, *, candidates=4, wrong=(), spread=60.0):
    """Candidates of each landmark: the truth first and nonsense behind; for ``wrong`` landmarks nonsense alone."""
    peaks = points.mean(0) + generator.uniform(-spread, spread, size=(len(points), candidates, 3))
    weights = np.tile(np.array([0.6, 0.2, 0.1, 0.1])[:candidates], (len(points), 1))
    right = np.setdiff1d(np.arange(len(points)), wrong)
    peaks[right, 0] = points[right]
    return peaks, weights


@pytest.mark.parametrize("seed", range(5))
def test_the_pose_is_exact_with_half_of_the_peaks_wrong(model, seed):
    generator = np.random.default_rng(seed)
    truth = random_pose(generator, scale=generator.uniform(0.85, 1.15))
    points = apply_affine(truth, model.mean_mm)
    wrong = generator.permutation(COUNT)[: COUNT // 2]
    pose, support = model.fit(*peaks_of(points, generator, wrong=wrong), tolerance_mm=1.0)
    assert_allclose(apply_affine(pose, model.mean_mm), points, atol=1e-6)
    assert_allclose(support, 0.6 * COUNT / 2, atol=0.05)  # the right ones' weights, and hardly a stray one


def test_a_right_candidate_behind_a_wrong_one_is_found(model):
    generator = np.random.default_rng(1)
    truth = random_pose(generator)
    peaks, weights = peaks_of(apply_affine(truth, model.mean_mm), generator)
    peaks[:4] = peaks[:4, [1, 0, 2, 3]]  # the truth is the second best of four landmarks
    pose, support = model.fit(peaks, weights, tolerance_mm=1.0)
    assert_allclose(pose, truth, atol=1e-6)
    assert_allclose(support, 8 * 0.6 + 4 * 0.2, atol=0.05)


def test_a_fit_stands_missing_and_empty_peaks(model):
    generator = np.random.default_rng(2)
    truth = random_pose(generator)
    peaks, weights = peaks_of(apply_affine(truth, model.mean_mm), generator)
    peaks[:3], weights[:3] = np.nan, 0.0
    peaks[3:, 2:], weights[3:, 2:] = np.nan, 0.0
    pose, _ = model.fit(peaks, weights, tolerance_mm=1.0)
    assert_allclose(pose, truth, atol=1e-6)


def test_the_same_peaks_always_give_the_same_fit(model):
    generator = np.random.default_rng(3)
    points = apply_affine(random_pose(generator), model.mean_mm) + generator.normal(scale=0.5, size=(COUNT, 3))
    peaks = peaks_of(points, generator, wrong=(0, 1, 2, 3))
    first, second = (model.fit(*peaks, tolerance_mm=1.0) for _ in range(2))
    assert (first[0] == second[0]).all()
    assert first[1] == second[1]


def test_different_poses_are_fitted_best_first(model):
    generator = np.random.default_rng(8)
    poses = [random_pose(generator) for _ in range(2)]
    points = [apply_affine(pose, model.mean_mm) for pose in poses]
    peaks, weights = np.where(np.arange(COUNT)[:, None] < 7, *points)[:, None], np.full((COUNT, 1), 0.5)
    (first, more), (second, fewer) = model.fits(peaks, weights, tolerance_mm=1.0, count=2, apart_mm=3.0)
    assert_allclose(first, poses[0], atol=1e-6)
    assert_allclose(second, poses[1], atol=1e-6)
    assert_allclose([more, fewer], [3.5, 2.5], atol=0.05)
    assert len(model.fits(peaks, weights, tolerance_mm=1.0)) == 1
    for pose, support in ((first, more), (second, fewer)):
        assert_allclose(model.support(pose, peaks, weights, tolerance_mm=1.0), support)


def test_poses_lie_apart_by_what_they_do_to_the_mean_shape(model):
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[1, 0, 3] = 2.9
    poses[2, :3, :3] *= 1.1
    radius = np.sqrt((model.mean_mm**2).sum(1).mean())
    assert_allclose(model.distance_mm(poses, np.eye(4)), [0, 2.9, 0.1 * radius])
    assert_allclose(model.distance_mm(poses[1], poses[0]), 2.9)


def test_of_each_landmark_the_peak_agrees_that_is_nearest_to_where_it_is_expected(model):
    peaks = np.full((COUNT, 2, 3), np.nan)
    peaks[0] = model.mean_mm[0] + [[0, 0, 1.5], [0, 0.5, 0]]
    peaks[1] = model.mean_mm[1] + [[0, 0, 2.1], [0, 5, 0]]
    agreeing = model.agreeing(np.eye(4), peaks, within_mm=2.0)
    assert_allclose(agreeing[0], model.mean_mm[0] + [0, 0.5, 0])
    assert np.isnan(agreeing[1:]).all()


def test_a_mirrored_shape_finds_little_support(model):
    generator = np.random.default_rng(4)
    peaks, weights = peaks_of(model.mean_mm * [-1, 1, 1], generator, candidates=1)
    fit = model.fit(peaks, weights, tolerance_mm=1.0)
    assert fit is None or fit[1] < 0.5 * weights.sum()


def test_where_nothing_agrees_there_is_no_fit(model):
    nowhere = np.full((COUNT, 4, 3), np.nan)
    assert model.fit(nowhere, np.zeros((COUNT, 4)), tolerance_mm=1.0) is None
    two = nowhere.copy()
    two[:2, 0] = model.mean_mm[:2]
    weights = np.zeros((COUNT, 4))
    weights[:2, 0] = 1
    assert model.fit(two, weights, tolerance_mm=1.0) is None
    # Twice the size of every training shape is another shape: the networks would not know it either.
    peaks, weights = peaks_of(2 * model.mean_mm, np.random.default_rng(5), candidates=1)
    assert model.fit(peaks, weights, tolerance_mm=1.0) is None


def test_the_posterior_is_the_textbook_one_with_missing_points(model):
    generator = np.random.default_rng(6)
    pose = random_pose(generator, scale=1.1)
    noise = generator.uniform(0.2, 2.0, size=COUNT)
    points = apply_affine(pose, model.mean_mm) + generator.normal(size=(COUNT, 3))
    points[[2, 7]] = np.nan
    # Information form, in the model's frame: (C^-1 + H' R^-1 H)^-1 (C^-1 m + H' R^-1 z).
    measured = np.repeat(np.isfinite(points).all(1), 3)
    select = np.eye(3 * COUNT)[measured]
    precision = select.T @ np.diag(3 * 1.1**2 / np.repeat(noise, 3)[measured] ** 2)
    prior = np.linalg.inv(model.covariance)
    seen = apply_affine(np.linalg.inv(pose), points).ravel()[measured]
    best = np.linalg.solve(prior + precision @ select, prior @ model.mean_mm.ravel() + precision @ seen)
    assert_allclose(model.posterior(points, noise, pose), apply_affine(pose, best.reshape(-1, 3)), atol=1e-8)


def test_a_posterior_of_sure_points_is_these_points_and_of_none_the_mean(model):
    pose = random_pose(np.random.default_rng(7))
    points = apply_affine(pose, model.mean_mm) + 0.3
    assert_allclose(model.posterior(points, np.full(COUNT, 1e-6), pose), points, atol=1e-6)
    nothing = model.posterior(np.full((COUNT, 3), np.nan), np.ones(COUNT), pose)
    assert_allclose(nothing, apply_affine(pose, model.mean_mm))


def test_one_independent_coordinate_by_hand():
    # Variance 1 and noise variance 3 / 3 = 1 a coordinate: half of the way. The second point, bound to the first by a
    # covariance of 0.5, is missing and follows by 0.5 / (1 + 1) of the first one's offset.
    covariance = np.kron([[1, 0.5], [0.5, 1]], np.eye(3))
    two = ShapeModel(np.array([[0.0, 0, 0], [10, 0, 0]]), covariance)
    posterior = two.posterior(np.array([[0, 4.0, 0], [np.nan] * 3]), np.full(2, np.sqrt(3)), np.eye(4))
    assert_allclose(posterior, [[0, 2, 0], [10, 1, 0]])


def test_learning_takes_pose_and_size_away():
    generator = np.random.default_rng(8)
    base = generator.uniform(-20, 20, size=(COUNT, 3))
    poses = [random_pose(generator, scale) for scale in (0.9, 1.0, 1.1, 1.0)]
    model = ShapeModel.from_shapes([apply_affine(pose, base) for pose in poses])
    assert_allclose(model.mean_mm.mean(0), 0, atol=1e-9)
    assert_allclose(np.diag(model.covariance), 1e-6, atol=1e-9)  # a micrometre each way is left
    fit = fit_similarity(model.mean_mm, base)
    assert_allclose(apply_affine(fit, model.mean_mm), base, atol=1e-6)
    assert_allclose(np.linalg.det(fit[:3, :3]) ** (1 / 3), 1 / np.mean([0.9, 1.0, 1.1, 1.0]), rtol=0.02)


def test_learnt_covariance_is_that_of_the_aligned_shapes():
    generator = np.random.default_rng(9)
    base = generator.uniform(-20, 20, size=(COUNT, 3))
    shapes = [
        apply_affine(random_pose(generator), base + generator.normal(scale=0.3, size=base.shape)) for _ in range(50)
    ]
    model = ShapeModel.from_shapes(shapes, shrinkage=1.0)
    assert np.linalg.eigvalsh(model.covariance).min() > -1e-9
    # Three coordinates of variance 0.09; pose and size take 7 of the 36 degrees of freedom away.
    assert_allclose(np.diag(model.covariance).mean(), 0.09 * 29 / 36, rtol=0.1)
    diagonal = ShapeModel.from_shapes(shapes, shrinkage=0.0)
    assert_allclose(np.diag(diagonal.covariance), np.diag(model.covariance), rtol=1e-3)
    assert not diagonal.covariance[~np.eye(3 * COUNT, dtype=bool)].any()


def test_learning_stands_shapes_with_missing_points():
    generator = np.random.default_rng(10)
    base = generator.uniform(-20, 20, size=(COUNT, 3))
    shapes = np.array([apply_affine(random_pose(generator), base) for _ in range(6)])
    shapes[0, :5] = np.nan
    shapes[3, 7] = np.nan
    shapes[5, 2:] = np.nan  # two points: no pose can be fitted to them, so this shape says nothing
    model = ShapeModel.from_shapes(shapes)
    assert_allclose(apply_affine(fit_similarity(model.mean_mm, base), model.mean_mm), base, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (np.zeros((1, 4, 3)), "a shape model needs at least 2 shapes of 3 points, got 1"),
        (np.full((3, 4, 3), np.nan), "a shape model needs at least 2 shapes of 3 points, got 0"),
        (
            np.where(np.arange(4)[:, None] == 2, np.nan, np.random.default_rng(11).normal(size=(3, 4, 3))),
            r"landmarks \[2\] are in none of the shapes",
        ),
    ],
)
def test_too_little_to_learn_from_is_refused(shapes, text):
    with pytest.raises(ValueError, match=text):
        ShapeModel.from_shapes(list(shapes))
