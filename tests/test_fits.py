"""Fits of points to points: against truth, SciPy and SimpleITK, and by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.fits import (
    SPACE,
    find_inliers,
    fit_subsets,
    fit_transform,
    into_space,
    leave_one_out,
    pairs_needed,
)
from lmk3d.geometry import apply_affine, random_rotation

PLANE = (np.eye(3)[:, :2],) * 2
LINEAR = ("rigid", "similarity", "affine")
KINDS = (*LINEAR, "tps")


def cloud(seed, count=10):
    return np.random.default_rng(seed).normal(size=(count, 3)) * 40


def motion(kind, seed=0):
    generator, affine = np.random.default_rng(seed), np.eye(4)
    affine[:3, :3], affine[:3, 3] = random_rotation(generator), generator.normal(size=3) * 50
    affine[:3, :3] *= 1.0 if kind == "rigid" else 1.3
    if kind in ("affine", "tps"):
        affine[:3, :3] += generator.normal(size=(3, 3)) * 0.1
    return affine


@pytest.mark.parametrize("kind", KINDS)
def test_exact_points_give_the_true_transform(kind):
    start, truth = cloud(0), motion(kind)
    fit = fit_transform(kind, start, apply_affine(truth, start))
    assert_allclose(fit.affine, truth, atol=1e-9)
    assert_allclose(fit(cloud(1)), apply_affine(truth, cloud(1)), atol=1e-8)


def itk_initial(transform, fixed, moving, weights=None):
    sitk = pytest.importorskip("SimpleITK")
    start = sitk.LandmarkBasedTransformInitializerFilter()
    start.SetFixedLandmarks(fixed.ravel().tolist())
    start.SetMovingLandmarks(moving.ravel().tolist())
    if weights is not None:
        start.SetLandmarkWeight(weights.tolist())
    done = start.Execute(transform)
    origin = np.array(done.TransformPoint([0.0] * fixed.shape[1]))
    dims = fixed.shape[1]
    columns = [np.array(done.TransformPoint(axis)) - origin for axis in np.eye(dims).tolist()]
    affine = np.eye(dims + 1)
    affine[:dims, :dims], affine[:dims, dims] = np.array(columns).T, origin
    return affine


@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_fits_equal_those_of_simpleitk(kind):
    sitk = pytest.importorskip("SimpleITK")
    start, noise = cloud(2), cloud(3) * 0.05
    end = apply_affine(motion(kind), start) + noise
    transform = sitk.VersorRigid3DTransform() if kind == "rigid" else sitk.AffineTransform(3)
    # ITK's transform leads from its "fixed" points to its "moving" ones.
    theirs = itk_initial(transform, start, end)
    assert_allclose(fit_transform(kind, start, end).affine, theirs, atol=2e-6)


def test_similarities_equal_those_of_simpleitk_but_for_the_scale_of_noisy_points():
    sitk = pytest.importorskip("SimpleITK")
    start, noise = cloud(2), cloud(3) * 0.05
    end = apply_affine(motion("similarity"), start)
    exact = itk_initial(sitk.Similarity3DTransform(), start, end)
    assert_allclose(fit_transform("similarity", start, end).affine, exact, atol=2e-6)
    ours = fit_transform("similarity", start, end + noise).affine[:3, :3]
    theirs = itk_initial(sitk.Similarity3DTransform(), start, end + noise)[:3, :3]
    scales = [np.cbrt(np.linalg.det(matrix)) for matrix in (ours, theirs)]
    assert_allclose(ours / scales[0], theirs / scales[1], atol=1e-7)
    # ITK takes Horn's ratio of the spreads, we the scale of least squares: smaller by the cosine of the misfit.
    spread = [np.sqrt(((points - points.mean(0)) ** 2).sum()) for points in (start, end + noise)]
    assert_allclose(scales[1], spread[1] / spread[0])
    moved = (start - start.mean(0)) @ ours.T
    assert_allclose(scales[0], scales[1] * (moved * (end + noise)).sum() / np.linalg.norm(moved) / spread[1])


def test_weighted_affine_fits_equal_those_of_simpleitk_and_scipy():
    sitk = pytest.importorskip("SimpleITK")
    start, end = cloud(4), cloud(4) @ motion("affine")[:3, :3].T + cloud(5) * 0.1
    weights = np.random.default_rng(6).uniform(0.2, 3, size=len(start))
    fit = fit_transform("affine", start, end, weights).affine
    # ITK multiplies both sides of each equation by the weight, so that its weights are our roots.
    assert_allclose(fit, itk_initial(sitk.AffineTransform(3), start, end, np.sqrt(weights)), atol=1e-6)
    rows = np.sqrt(weights)[:, None] * np.column_stack([start, np.ones(len(start))])
    solved = np.linalg.lstsq(rows, np.sqrt(weights)[:, None] * end, rcond=None)[0]
    assert_allclose(fit[:3], solved.T, atol=1e-9)


def test_a_rotation_equals_that_of_scipy_with_weights():
    from scipy.spatial.transform import Rotation

    start = cloud(7)
    end = apply_affine(motion("rigid", 3), start) + cloud(8) * 0.1
    weights = np.random.default_rng(9).uniform(0.1, 4, size=len(start))
    middle = [np.average(points, axis=0, weights=weights) for points in (start, end)]
    theirs = Rotation.align_vectors(end - middle[1], start - middle[0], weights=weights)[0].as_matrix()
    assert_allclose(fit_transform("rigid", start, end, weights).affine[:3, :3], theirs, atol=1e-9)


@pytest.mark.parametrize("smooth", [0.0, 0.3])
@pytest.mark.parametrize(("axes", "kernel"), [(SPACE, "linear"), (PLANE, "thin_plate_spline")])
def test_splines_equal_those_of_scipy(axes, kernel, smooth):
    from scipy.interpolate import RBFInterpolator

    dims = axes[0].shape[1]
    keep = np.arange(3) < dims
    start, end, places = cloud(10) * keep, (cloud(10) + cloud(11) * 0.1) * keep, cloud(12, 40) * keep
    weights = np.random.default_rng(13).uniform(0.5, 2, size=len(start))
    fit = fit_transform("tps", start, end, weights, axes=axes, smooth=smooth)
    # Our smoothing counts in mean kernels between points laid into a box of side one.
    unit = start[:, :dims] / np.ptp(start[:, :dims], axis=0).max()
    gaps = np.linalg.norm(unit[:, None] - unit, axis=-1)[~np.eye(len(start), dtype=bool)]
    mean = np.abs(gaps if dims == 3 else gaps**2 * np.log(gaps)).mean()
    price = smooth * mean / (weights / weights.mean())
    scale = np.ptp(start[:, :dims], axis=0).max()
    theirs = RBFInterpolator(unit, end[:, :dims], kernel=kernel, degree=1, smoothing=price)
    assert_allclose(fit(places)[:, :dims], theirs(places[:, :dims] / scale), atol=1e-8)
    if not smooth:
        assert_allclose(fit(start), end, atol=1e-9)


def test_much_smoothing_leaves_the_affine_fit():
    start, end = cloud(14), cloud(14) + cloud(15) * 0.1
    stiff = fit_transform("tps", start, end, smooth=1e6)
    assert_allclose(stiff(cloud(16)), fit_transform("affine", start, end)(cloud(16)), atol=1e-3)


def test_a_film_is_turned_in_its_plane_by_hand():
    # Two points are enough: (0, 0) -> (5, 1) and (10, 0) -> (5, 11) is a quarter turn.
    fit = fit_transform("rigid", [[0, 0, 2], [10, 0, 2]], [[5, 1, 7], [5, 11, 7]], axes=PLANE)
    assert_allclose(fit.affine, [[0, -1, 0, 5], [1, 0, 0, 1], [0, 0, 1, 5], [0, 0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_planes_that_lie_askew_are_brought_onto_each_other(kind):
    generator = np.random.default_rng(17)
    one, other = (random_rotation(generator) for _ in range(2))
    flat = generator.normal(size=(8, 2)) * 30
    turned = flat @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    start, end = flat @ one[:, :2].T + 5 * one[:, 2], turned @ other[:, :2].T - 3 * other[:, 2]
    fit = fit_transform(kind, start, end, axes=(one[:, :2], other[:, :2]))
    assert_allclose(fit(start), end, atol=1e-9)
    assert_allclose(fit(start + one[:, 2]) - end, np.broadcast_to(other[:, 2], (8, 3)), atol=1e-9)
    assert_allclose(fit.affine, into_space(fit_subsets(kind, flat, turned), start, end, (one[:, :2], other[:, :2])),
                    atol=1e-9)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", [SPACE, PLANE])
def test_outliers_are_found(kind, axes):
    keep = np.arange(3) < axes[0].shape[1]
    start = cloud(18, 12) * keep
    truth = motion("rigid", 4)[:3, :3] if keep.all() else np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    end = (start @ truth.T + cloud(19, 12) * 0.01) * keep
    end[[0, 3, 7]] += np.array([[30, 10, 0], [-50, 0, 5], [8, 12, 9]]) * keep
    missing = end.copy()
    missing[11] = np.nan
    inliers = find_inliers(kind, start, missing, axes=axes)
    assert_array_equal(np.flatnonzero(~inliers), [0, 3, 7, 11])


def test_clean_points_lose_few_to_the_robust_fit():
    kept = []
    for seed in range(40):
        start = cloud(seed, 15)
        kept.append(find_inliers("rigid", start, start + np.random.default_rng(seed + 99).normal(size=(15, 3))).mean())
    assert 0.95 < np.mean(kept) <= 1.0  # 99 % were right if the noise's size were known


def test_exact_points_with_outliers_keep_all_others():
    start = cloud(20, 9)
    end = apply_affine(motion("rigid"), start)
    end[4] += 0.5
    assert_array_equal(np.flatnonzero(~find_inliers("rigid", start, end)), [4])


def test_weights_of_zero_and_missing_points_are_left_out():
    start = cloud(21)
    end = apply_affine(motion("affine"), start)
    end[0], end[1] = 999, np.nan
    weights = np.ones(len(start))
    weights[0] = 0
    assert_allclose(fit_transform("affine", start, end, weights).affine, motion("affine"), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_one_out_is_what_it_says(kind):
    start, end = cloud(22), cloud(22) + cloud(23) * 0.05
    end[2] = np.nan
    errors = leave_one_out(kind, start, end)
    others = np.array([row for row in range(len(start)) if row not in (2, 5)])
    by_hand = fit_transform(kind, start[others], end[others])(start[5]) - end[5]
    assert_allclose(errors[5], np.linalg.norm(by_hand))
    assert np.isnan(errors[2])
    assert errors[5] > np.linalg.norm(fit_transform(kind, start, end)(start[5]) - end[5])


def test_leaving_out_what_cannot_be_spared_gives_no_number():
    start = cloud(24, 3)
    assert np.isnan(leave_one_out("rigid", start, start)).all()


def test_how_many_pairs_a_fit_needs():
    assert [pairs_needed(kind) for kind in KINDS] == [3, 3, 4, 4]
    assert [pairs_needed(kind, 2) for kind in KINDS] == [2, 2, 3, 3]
    with pytest.raises(ValueError, match="kind must be one of rigid, similarity, affine, tps, got 'elastic'"):
        pairs_needed("elastic")


LINE = np.outer([0.0, 10, 20, 30, 50], [1, 2, 2])
SHEET = cloud(25, 6) * [1, 1, 0]


@pytest.mark.parametrize(
    ("kind", "start", "text"),
    [
        ("rigid", cloud(0, 2), "at least 3 pairs of points, got 2; give more"),
        ("affine", cloud(0, 3), r"a fit \(affine\) needs at least 4 pairs"),
        ("rigid", LINE, "the moving points lie on a line .* leaves the fit open"),
        ("rigid", np.ones((4, 3)), "the moving points lie in one place|on a line"),
        ("affine", SHEET, "the moving points lie in a plane"),
        ("tps", SHEET, "the moving points lie in a plane"),
        ("tps", np.concatenate([cloud(0, 6), cloud(0, 1)]), "two moving points lie in one place, which tears a spline"),
    ],
)
def test_points_that_leave_a_fit_open_are_refused(kind, start, text):
    with pytest.raises(ValueError, match=text):
        fit_transform(kind, start, start)


@pytest.mark.parametrize(
    ("weights", "text"),
    [(-np.ones(10), "weights must be finite and not negative"), (np.ones(3), "points and weights must pair up")],
)
def test_weights_that_are_none_are_refused(weights, text):
    with pytest.raises(ValueError, match=text):
        fit_transform("rigid", cloud(0), cloud(0), weights)


def test_a_robust_fit_needs_pairs_to_spare():
    with pytest.raises(ValueError, match=r"a robust fit \(rigid\) needs at least 5 pairs of points, got 4"):
        find_inliers("rigid", cloud(0, 4), cloud(0, 4))
