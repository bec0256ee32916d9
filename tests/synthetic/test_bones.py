import numpy as np
import pytest

from lmk3d.synthetic.bones import draw_spine, egg, skeleton, tube
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.shapes import Column


@pytest.fixture
def spine():
    return draw_spine(Draws(1, stream=0), np.array([1.1, 0.9, 1.05]))


def test_the_spine_is_bent_back_at_the_chest_and_forward_at_the_loin(spine):
    chest, loin, sacrum = spine(np.array([-20.0, -230.0, -350.0]) * 1.05)[:, 1]
    assert chest < loin - 5
    assert sacrum < loin - 10


def test_a_vertebras_axes_are_right_front_and_up(spine):
    axes = spine.axes(-100.0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.diag(axes).min() > 0.8
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_there_are_seventeen_vertebrae_with_hard_shell_and_disc(spine):
    columns = [shape for shape in skeleton(Draws(1, stream=0), spine) if isinstance(shape, Column)]
    hard = [shape for shape in columns if shape.hu > 400]
    assert len(hard) == 17
    assert sum(shape.hu == 85 for shape in columns) == 17
    heights = [shape.centre_mm[2] for shape in hard]
    assert heights == sorted(heights, reverse=True)
    np.testing.assert_allclose(spine(np.array(heights)), [shape.centre_mm for shape in hard])


def test_bones_are_as_many_on_the_left_as_on_the_right(spine):
    spans = [shape.span(np.eye(3)) for shape in skeleton(Draws(1, stream=0), spine)]
    left, right = sum(high[0] < -20 for _, high in spans), sum(low[0] > 20 for low, _ in spans)
    assert abs(left - right) <= 2
    assert left > 20


def test_shapes_take_the_size_of_the_body():
    scale = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(egg(0.0, [1, 1, 1], [2, 2, 2], scale).radii_mm, [2, 4, 6])
    line = tube(0.0, [[0, 0, 0], [1, 1, 1]], 5.0, scale)
    np.testing.assert_allclose(line.points_mm[-1], [1, 2, 3])
    np.testing.assert_allclose(line.radii_mm, 5.0)
