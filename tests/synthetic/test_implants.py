import numpy as np
import pytest

from lmk3d.synthetic import implants
from lmk3d.synthetic.bones import draw_spine
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.implants import Body, draw_implants


@pytest.fixture
def body():
    spine = draw_spine(Draws(1, stream=0), np.ones(3))
    return Body(spine, np.array([-60.0, 40, -60]), np.array([-4.0, 21, 0]), np.array([0.0, -5, -262]))


def _points(shapes):
    return np.stack([np.add(*shape.span(np.eye(3))) / 2 for shape in shapes])


def test_no_body_has_everything_and_some_have_nothing(body):
    counts = [len(draw_implants(Draws(seed, stream=5), body)) for seed in range(60)]
    assert min(counts) == 0
    assert max(counts) > 5
    assert len(set(counts)) > 8


def test_a_seed_draws_the_same_implants(body):
    one, two = (draw_implants(Draws(8, stream=5), body) for _ in range(2))
    assert [shape.hu for shape in one] == [shape.hu for shape in two]
    np.testing.assert_array_equal(_points(one), _points(two))


@pytest.mark.parametrize("seed", range(4))
def test_wires_lie_about_the_sternum(body, seed):
    places = _points(implants._wires(Draws(seed, stream=5), body))
    assert np.abs(places[:, 0]).max() < 15
    assert places[:, 1].min() > 60
    assert places[:, 2].min() > -55
    assert places[:, 2].max() < 75


def test_a_lead_runs_from_the_generator_into_the_right_ventricle(body):
    can, lead = implants._pacemaker(Draws(0, stream=5), body)
    np.testing.assert_allclose(lead.points_mm[0], can.centre_mm)
    np.testing.assert_allclose(lead.points_mm[-1], body.valve + np.array([-12.0, 20, -50]))
    assert lead.hu >= 1500


def test_a_valve_ring_surrounds_the_mitral_valve_at_one_distance(body):
    (ring,) = implants._valve(Draws(0, stream=5), body)
    middle = body.valve + np.array([-12.0, -14, -12])
    away = np.linalg.norm(ring.points_mm - middle, axis=1)
    np.testing.assert_allclose(away, away[0])
    assert 12 <= away[0] <= 15


def test_hip_joints_lie_far_below_the_aortic_bifurcation(body):
    for seed in range(6):
        assert _points(implants._hips(Draws(seed, stream=5), body))[:, 2].max() < body.fork[2] - 100


def test_rods_lie_beside_the_spine(body):
    rods = [shape for shape in implants._rods(Draws(2, stream=5), body) if len(shape.points_mm) > 2]
    for rod in rods:
        away = rod.points_mm - body.spine(rod.points_mm[:, 2])
        np.testing.assert_allclose(np.abs(away[:, 0]), 22.0)
