import numpy as np
import pytest

from lmk3d.synthetic.draws import Draws, rotation
from lmk3d.synthetic.root import draw_root
from lmk3d.synthetic.tissue import Frame


@pytest.fixture
def root():
    return draw_root(Draws(3, stream=0), Frame(np.array([1.0, 2.0, 3.0]), rotation(3, 5, 7), 1.1))


def test_the_right_sinus_looks_forwards_the_left_one_left_and_the_third_back_to_the_right():
    for seed in range(20):
        right, left, third = draw_root(Draws(seed, stream=0), Frame(np.zeros(3), np.eye(3), 1.0)).outward
        assert right[1] > 0.6
        assert left[0] < -0.6
        assert third[0] > 0.2
        assert third[1] < -0.4


def test_sinuses_look_across_the_axis(root):
    np.testing.assert_allclose(root.outward @ root.up, 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(root.outward, axis=1), 1.0)


def test_the_hinge_lies_on_outflow_tract_and_sinus_alike(root):
    hinge = root.hinge(2) - root.base
    assert np.linalg.norm(hinge - (hinge @ root.up) * root.up) == pytest.approx(root.annulus)
    local = (root.hinge(2) - root.centre(2)) @ root.axes(2) / root.sinus[2]
    assert (local**2).sum() == pytest.approx(1.0)
    assert local[1] == pytest.approx(0.0, abs=1e-12)  # in the middle plane of its sinus
    assert local[2] < 0  # below the sinus's centre


def test_a_point_of_a_sinus_wall_has_the_walls_normal(root):
    point, normal = root.wall(0, 10.0, 25.0)
    beside = [root.wall(0, 10.01, 25.0)[0] - point, root.wall(0, 10.0, 25.01)[0] - point]
    for step in beside:
        assert step @ normal / np.linalg.norm(step) == pytest.approx(0.0, abs=1e-3)
    assert normal @ root.outward[0] > 0.5
