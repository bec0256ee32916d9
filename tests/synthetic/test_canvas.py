import numpy as np
import pytest

from lmk3d.synthetic.canvas import Canvas, closed_curve, curve, polygon_depth, segment_depth, star_depth
from lmk3d.synthetic.draws import Draws

SQUARE = np.array([[10.0, 10], [20, 10], [20, 20], [10, 20]])


def circle(middle, radius, count=64):
    angles = 2 * np.pi * np.arange(count) / count
    return np.asarray(middle) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def area_mm2(canvas):
    return float(canvas.image.sum()) * canvas.spacing_mm**2


def centre_mm(canvas):
    rows, columns = np.indices(canvas.image.shape)
    weights = canvas.image / canvas.image.sum()
    return canvas.spacing_mm * np.array([(weights * columns).sum(), (weights * rows).sum()])


def test_curves_pass_through_their_knots():
    knots = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_allclose(curve(knots, steps=8)[::8], knots)
    np.testing.assert_allclose(closed_curve(knots, steps=4)[::4], knots)
    straight = curve([(0, 0), (1, 2), (2, 4)], steps=4)
    np.testing.assert_allclose(straight[:, 1], 2 * straight[:, 0], atol=1e-12)


@pytest.mark.parametrize("spacing_mm", [0.25, 0.4])
def test_a_shape_has_its_area_and_its_place_below_a_pixel(spacing_mm):
    # Half of the soft edge lies on either side, so nothing is lost; (x, y) are columns and rows.
    shift = np.array([0.37, -1.21])
    canvas = Canvas.blank((120, 160), spacing_mm)
    canvas.polygon(SQUARE + shift, 1.0)
    assert area_mm2(canvas) == pytest.approx(100, rel=2e-3)
    np.testing.assert_allclose(centre_mm(canvas), shift + 15, atol=1e-3)
    disc = Canvas.blank((120, 160), spacing_mm)
    disc.star(circle([17.3, 15.1], 6.0), 2.0)
    assert area_mm2(disc) == pytest.approx(2 * np.pi * 36, rel=5e-3)
    np.testing.assert_allclose(centre_mm(disc), [17.3, 15.1], atol=5e-3)


def test_masks_hold_the_pixels_whose_centres_lie_inside():
    canvas = Canvas.blank((30, 40), 1.0)
    mask = canvas.polygon(SQUARE + 0.5, 1.0)
    assert np.array_equal(np.argwhere(mask).min(0), [11, 11])
    assert np.array_equal(np.argwhere(mask).max(0), [20, 20])
    assert mask.sum() == 100
    band = canvas.band([5.5, 25.5], [8.5, 8.5], [12.5, 12.5], 1.0)
    assert (np.argwhere(band).min(0).tolist(), np.argwhere(band).max(0).tolist()) == ([9, 6], [12, 25])
    assert mask.shape == band.shape == canvas.image.shape


def test_a_polygon_may_run_either_way_round():
    x, y = np.array([[15.0, 12.0, 5.0]]), np.array([[15.0]])
    np.testing.assert_allclose(polygon_depth(SQUARE, x, y), [[5, 2, -5]])
    np.testing.assert_allclose(polygon_depth(SQUARE[::-1], x, y), [[5, 2, -5]])


def test_depths_are_distances_from_the_outline():
    x, y = np.array([[0.0, 3.0, 5.0]]), np.array([[0.0]])
    np.testing.assert_allclose(star_depth(circle([0, 0], 4.0, 256), x, y), [[4, 1, -1]], atol=1e-3)
    # A stroke from (0, 0) to (4, 0), its radius 1 to 2: half way it is 1.5; behind its end 2.
    ends = np.array([0.0, 0.0]), np.array([4.0, 0.0])
    found = segment_depth(*ends, (1.0, 2.0), np.array([[2.0, 7.0]]), np.array([[1.0]]))
    np.testing.assert_allclose(found, [[0.5, 2 - np.sqrt(10)]])


def test_tubes_are_no_denser_where_they_meet():
    canvas = Canvas.blank((40, 40), 1.0)
    canvas.tubes([([(5, 20), (35, 20)], 6.0), ([(20, 5), (20, 35)], [4.0, 6.0])], 0.5)
    assert canvas.image.max() == pytest.approx(0.5)
    assert canvas.image[20, 20] == canvas.image[20, 8] == canvas.image[8, 20] == pytest.approx(0.5)


def test_what_lies_beside_the_film_leaves_no_trace():
    canvas = Canvas.blank((20, 20), 1.0)
    canvas.polygon(SQUARE + 60, 1.0)
    canvas.star(circle([-30, 5], 4.0), 1.0)
    canvas.stroke([(50, 50), (60, 60)], 3.0, 1.0)
    canvas.blob((100, 100), 2.0, 1.0)
    assert not canvas.image.any()
    canvas.stroke([(10, 10), (60, 10)], 3.0, 1.0)  # and what leaves it is cut at its border
    assert canvas.image[10, 19] == pytest.approx(1.0)


@pytest.mark.parametrize(("bits", "dtype", "most"), [(8, np.uint8, 255), (16, np.uint16, 4095)])
def test_exposed_films_fill_their_bits_and_have_the_noise_asked_for(bits, dtype, most):
    canvas = Canvas.blank((64, 64), 1.0)
    canvas.polygon([(-5, -5), (80, -5), (80, 32), (-5, 32)], 1.0)
    clean = canvas.exposed(Draws(0, 1), noise=0.0, bits=bits)
    noisy = canvas.exposed(Draws(0, 1), noise=0.02, bits=bits)
    assert clean.dtype == noisy.dtype == dtype
    assert clean.min() == round(0.04 * most)
    assert clean.max() == round(0.94 * most)
    assert (noisy.astype(float) - clean)[:20].std() == pytest.approx(0.02 * most, rel=0.1)
