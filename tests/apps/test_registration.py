"""Registration by points alone: what comes back, and what is refused."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.apps.registration import RegisterOptions, fitting_axes, register_points
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, apply_affine, film_affine, random_rotation
from lmk3d.landmarks import Landmarks
from lmk3d.synthetic import cta_phantom

NAMES = tuple("abcdefgh")
GONE = [np.nan] * 3
SHIFT = np.array([5.0, -7, 11])


def cloud(seed=0):
    return np.random.default_rng(seed).normal(size=(8, 3)) * 40


def named(points, **more):
    return Landmarks(NAMES, points, **more)


def test_a_phantom_in_two_poses_is_registered_exactly():
    points = cta_phantom(3, region="torso", shape=(4, 4, 4)).all_landmarks
    truth = np.eye(4)
    truth[:3, :3], truth[:3, 3] = random_rotation(np.random.default_rng(1)), [10, 20, -30]
    done = register_points(points, Landmarks(points.names, apply_affine(truth, points.points_mm)))
    assert_allclose(done.transform.affine, truth, atol=1e-9)
    assert done.rms_mm < 1e-9
    assert done.left_out_rms_mm < 1e-9


def test_residuals_and_left_out_errors_by_hand():
    # A cross 2 % larger: a rigid fit shifts nothing and leaves 1 mm at each end. Without one end the means of the other
    # three, -50 / 3 and -51 / 3, shift it by -1/3, and it lands at 49.67 where 51 was to be reached.
    cross = np.array([[50.0, 0, 0], [-50, 0, 0], [0, 50, 0], [0, -50, 0]])
    done = register_points(Landmarks(NAMES[:4], cross), Landmarks(NAMES[:4], 1.02 * cross))
    assert_allclose([pair.residual_mm for pair in done.pairs], 1, atol=1e-9)
    assert_allclose([pair.left_out_mm for pair in done.pairs], 4 / 3, atol=1e-9)
    assert done.rms_mm == pytest.approx(1)
    assert done.left_out_rms_mm == pytest.approx(4 / 3)
    assert [pair.weight for pair in done.pairs] == [1.0] * 4


def test_missing_points_and_strange_names_are_left_out_and_said():
    moved = cloud() + SHIFT
    moved[2] = GONE
    fixed = Landmarks((*NAMES[:7], "x"), moved)
    done = register_points(named(cloud()), fixed)
    assert [pair.name for pair in done.pairs] == list("abdefg")
    assert done.alone == (("c", "moving"), ("h", "moving"), ("c", "missing in fixed"), ("x", "fixed"))
    content = json.loads(json.dumps(done.as_dict(), allow_nan=False))
    assert content["matrix"][0][3] == pytest.approx(5)
    assert content["bending"] is None


def test_an_outlier_is_named_and_does_not_move_the_rest():
    moved = cloud() + SHIFT
    moved[3] += 25
    done = register_points(named(cloud()), named(moved), RegisterOptions(robust=True))
    assert [pair.name for pair in done.pairs if not pair.used] == ["d"]
    assert_allclose(done.transform.affine[:3, 3], SHIFT, atol=1e-9)
    assert done.pairs[3].residual_mm == pytest.approx(25 * np.sqrt(3))
    assert np.isnan(done.pairs[3].left_out_mm)
    assert done.rms_mm < 1e-9


def test_expected_errors_weigh():
    moved = cloud() + SHIFT
    moved[0] += [8, 0, 0]
    error = np.full(8, 1.0)
    error[0] = 1000.0
    done = register_points(named(cloud(), error_mm=error), named(moved, error_mm=np.ones(8)),
                           RegisterOptions(weigh=True))  # fmt: skip
    assert_allclose(done.transform.affine[:3, 3], SHIFT, atol=1e-3)
    assert done.pairs[1].weight / done.pairs[0].weight == pytest.approx((1000**2 + 1) / 2)


def test_a_spline_reaches_every_point_and_says_its_bending():
    moved = cloud() + SHIFT + cloud(1) * 0.05
    done = register_points(named(cloud()), named(moved), RegisterOptions("tps"))
    assert done.rms_mm < 1e-8
    assert done.left_out_rms_mm > 1
    assert len(done.as_dict()["bending"]["centers"]) == 8


def test_films_are_fitted_in_their_plane():
    flat = cloud() * [1, 1, 0]
    assert fitting_axes(named(flat), named(flat))[0].shape == (3, 2)
    assert fitting_axes(named(cloud()), named(cloud()))[0].shape == (3, 3)
    grid = Grid((40, 30, 1), film_affine((0.5, 0.5)))
    axes = fitting_axes(named(flat), named(flat), grid, grid)
    assert_allclose(axes[0], [[0, -1], [-1, 0], [0, 0]])
    two = Landmarks(("a", "b"), flat[:2])
    done = register_points(two, Landmarks(("a", "b"), flat[:2] + np.array([3, 4, 0])), axes=axes)
    assert_allclose(
        done.transform.affine, np.array([[1, 0, 0, 3], [0, 1, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1.0]]), atol=1e-9
    )
    with pytest.raises(InputError, match="the fixed side is a film and the other one a volume"):
        fitting_axes(named(cloud()), named(flat))


FEW = Landmarks(("a", "b", "z"), cloud()[:3])


@pytest.mark.parametrize(
    ("moving", "fixed", "options", "text"),
    [
        (named(cloud()), named(cloud(), unit="px"), {}, "the moving points are in mm, the fixed ones in px"),
        (named(cloud()), FEW, {}, r"2 landmarks are on both sides \(a, b; .*z\) and rigid needs 3; give more"),
        (named(cloud()[:, [0, 0, 0]]), named(cloud()), {}, "the moving points lie on a line"),
        (named(cloud()), named(cloud() * [1, 1, 0]), {"kind": "affine"}, "the fixed points lie in a plane"),
        (named(cloud()), named(cloud() * [-1, 1, 1]), {}, "look like a mirror image .* is left called right"),
        (named(cloud()), named(cloud() / 10), {}, "0.1 times as far apart as the moving ones; is one side in another"),
        (named(cloud()), named(cloud()), {"weigh": True}, "the moving points have no expected error above 0 for a, b"),
        (FEW, FEW, {"robust": True}, r"a robust fit \(rigid\) needs at least 5 pairs of points, got 3"),
    ],
)
def test_what_would_give_a_wrong_number_is_refused(moving, fixed, options, text):
    with pytest.raises(InputError, match=text):
        register_points(moving, fixed, RegisterOptions(**options))


def test_sizes_may_differ_where_that_is_asked():
    done = register_points(named(cloud()), named(cloud() / 10), RegisterOptions("similarity"))
    assert np.linalg.det(done.transform.affine[:3, :3]) == pytest.approx(1e-3)


def test_exchanged_sides_of_a_symmetric_body_are_noticed():
    right = np.array([[40.0, 3, 0], [55, -20, 30], [30, 25, 60], [48, 5, 95]])
    names = tuple(f"{side} {row}" for side in ("right", "left") for row in range(4))
    points = np.concatenate([right, right * [-1, 1, 1]]) + np.random.default_rng(2).normal(size=(8, 3))
    swapped = Landmarks(names[4:] + names[:4], points)
    with pytest.raises(InputError, match="mirror image"):
        register_points(Landmarks(names, points), swapped)
