"""Masks and uv maps of contours, and points of the template read back from them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.codecs import DenseCodec
from lmk3d.codecs.dense import polygon_mask

NAMES = tuple("abcdefg")
STRUCTURES = {"square": ["a", "b", "c", "d"], "triangle": ["g", "f", "e"]}
TEMPLATE_MM = np.array(
    [[0.0, 0, 0], [0, 40, 0], [40, 40, 0], [40, 0, 0], [60.0, 0, 0], [60, 20, 0], [80, 0, 0]]
)  # a square of 40 mm beside a triangle
SHAPE = (64, 48, 1)


def image_points():
    """The template turned and stretched: rows and columns of a film of 64 x 48 pixels."""
    points = 4.3 + TEMPLATE_MM[:, [1, 0]] @ np.array([[0.9, 0.1], [-0.05, 0.45]])
    return np.column_stack([points, np.zeros(len(points))])


def perfect_logits(codec, points):
    target = codec.draw(points, SHAPE, TEMPLATE_MM)
    logits = torch.nan_to_num(target)
    logits[:2] = 20 * logits[:2] - 10
    return logits


def test_uv_are_places_in_the_box_of_each_structure():
    uv = DenseCodec(NAMES, STRUCTURES).template_uv(TEMPLATE_MM)
    assert_allclose(uv[:4], [[-1, -1], [-1, 1], [1, 1], [1, -1]])
    assert_allclose(uv[4:], [[-1, -1], [-1, 1], [1, -1]])


def test_targets_are_the_contours_and_the_affine_map_between_them():
    codec, points = DenseCodec(NAMES, STRUCTURES), image_points()
    target = codec.draw(points, SHAPE, TEMPLATE_MM).numpy()
    assert target.shape == (6, *SHAPE)
    # The square's area: of 40 by 40 mm under the matrix's determinant.
    assert target[0].sum() == pytest.approx(1600 * abs(0.9 * 0.45 + 0.1 * 0.05), rel=0.05)
    inside = target[0, :, :, 0] == 1
    assert np.isnan(target[[2, 4]][:, ~inside]).all()
    pixels = np.argwhere(inside)
    template = (pixels - 4.3) @ np.linalg.inv(np.array([[0.9, 0.1], [-0.05, 0.45]]))
    u, v = target[2, inside, 0], target[4, inside, 0]
    known = ~np.isnan(u)
    assert known.mean() > 0.95  # a pixel on the hull itself may fall outside by rounding
    assert_allclose(u[known], template[known, 1] / 20 - 1, atol=1e-5)
    assert_allclose(v[known], template[known, 0] / 20 - 1, atol=1e-5)


def test_what_is_drawn_is_read_back():
    codec, points = DenseCodec(NAMES, STRUCTURES, neighbours=1), image_points()
    peaks = codec.decode(perfect_logits(codec, points), TEMPLATE_MM)
    assert peaks.points_vox.shape == (7, 1, 3)
    away = np.linalg.norm(peaks.points_vox[:, 0].numpy() - points, axis=1)
    # A corner has no pixel of its own: the sharper it is, the farther away is the first one inside.
    assert away[:4].max() < 1.1
    assert away.max() < 2.5
    assert (peaks.presence > 0.99).all()


def test_points_never_trained_on_are_read_out_below_a_pixel():
    codec, points = DenseCodec(NAMES, STRUCTURES, temperature=0.02), image_points()
    inner_mm = np.array([[10.0, 10], [20, 20], [31, 17]])
    uv = codec.to_uv(inner_mm, TEMPLATE_MM[codec.rows[0], :2])
    found = codec.read_out(perfect_logits(codec, points), 0, uv).numpy()[:, :2]
    expected = 4.3 + inner_mm[:, ::-1] @ np.array([[0.9, 0.1], [-0.05, 0.45]])
    assert_allclose(found, expected, atol=0.35)


def test_the_papers_read_out_weighs_five_pixels_worked_out_by_hand():
    codec = DenseCodec(("a", "b", "c"), {"one": ["a", "b", "c"]}, neighbours=2)
    logits = torch.zeros(3, 1, 4, 1)
    logits[0] = 10
    logits[1, 0, :, 0] = torch.tensor([-1.0, 0.0, 0.5, 1.0])  # u; v is 0
    # u = 0.2 is 0.2 from pixel 1 and 0.3 from pixel 2: softmin weights them 1 to exp(-0.1).
    found = codec.read_out(logits, 0, np.array([[0.2, 0.0]]))
    weight = np.exp(-0.1) / (1 + np.exp(-0.1))
    assert_allclose(found.numpy(), [[0, 1 + weight, 0]], rtol=1e-5)


def test_a_structure_without_a_landmark_is_unknown_and_one_without_a_pixel_is_missing():
    codec, points = DenseCodec(NAMES, STRUCTURES), image_points()
    points[5] = np.nan
    target = codec.draw(points, SHAPE, TEMPLATE_MM)
    assert target[[1, 3, 5]].isnan().all()
    assert not target[0].isnan().any()
    logits = perfect_logits(codec, image_points())
    logits[1] = -10
    peaks = codec.decode(logits, TEMPLATE_MM)
    assert_array_equal(peaks.points_vox[:, 0].isnan().any(1).numpy(), [False] * 4 + [True] * 3)
    assert (peaks.presence[4:] == 0).all()


def test_a_structure_outside_the_image_is_empty_and_one_on_a_line_has_no_uv():
    codec, points = DenseCodec(NAMES, STRUCTURES), image_points()
    points[:4, 0] += 1000
    points[4:, :2] = [[1, 1], [1, 9], [1, 17]]
    target = codec.draw(points, SHAPE, TEMPLATE_MM)
    assert (target[:2] == 0).all()
    assert target[2:].isnan().all()


def test_a_mask_holds_the_pixels_whose_centre_is_inside():
    contour = np.array([[0.5, 0.5], [0.5, 3.5], [3.5, 3.5], [3.5, 2.5], [1.5, 2.5], [1.5, 0.5]])  # an L
    expected = np.zeros((5, 5), bool)
    expected[1, 1:4] = expected[1:4, 3] = True
    assert_array_equal(polygon_mask(contour, (5, 5)), expected)
    assert_array_equal(polygon_mask(contour[::-1], (5, 5)), expected)


@pytest.mark.parametrize(
    ("structures", "text"),
    [
        ({"one": ["a", "b", "x"]}, "structures name 'x', which is not among the landmarks"),
        ({"one": ["a", "b", "c"], "two": ["c", "a", "b"]}, "must be in one structure, but 'a' is in 2"),
        ({"one": ["a", "b"], "two": ["c"]}, "structure 'one' has 2 landmarks, a contour needs 3"),
    ],
)
def test_structures_that_are_none_are_refused(structures, text):
    with pytest.raises(ValueError, match=text):
        DenseCodec(("a", "b", "c"), structures)
