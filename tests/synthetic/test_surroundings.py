import numpy as np
import pytest

from lmk3d.geometry import Grid
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.render import Scene, render
from lmk3d.synthetic.surroundings import arms, head, legs, table
from lmk3d.synthetic.variation import draw_variation

ONE = np.ones(3)


@pytest.fixture
def tissue():
    return draw_variation(3, "arterial").tissue


def _hu(shapes, *points):
    found = []
    for point in points:
        grid = Grid.around(np.array(point, float), (1, 1, 1), 1.0)
        found.append(int(render(Scene(tuple(shapes), -1000.0), grid).data[0, 0, 0]))
    return found


def test_an_arm_has_bone_within_muscle_within_fat_and_lies_beside_the_trunk(tissue):
    for seed in range(12):
        shapes = arms(Draws(seed, stream=5), ONE, tissue)
        assert len(shapes) in (4, 8)
        assert [shape.hu for shape in shapes[:4]] == [tissue.fat, tissue.muscle, 900.0, 80.0]
        bone = shapes[2].points_mm
        assert bone[0, 0] > 120  # the patient's right comes first
        widths = [shape.radii_mm.max() for shape in shapes[:4]]
        assert widths == sorted(widths, reverse=True)


def test_arms_lie_down_across_or_up():
    ends = {
        int(arms(Draws(seed, stream=5), ONE, draw_variation(3).tissue)[2].points_mm[-1, 2] > 100) for seed in range(20)
    }
    assert ends == {0, 1}


def test_a_head_is_brain_within_bone_within_scalp(tissue):
    shapes = head(Draws(0, stream=5), ONE, tissue)
    top = shapes[0].centre_mm + np.outer([0, 101.5, 109, 130], [0, 0, 1])
    brain, bone, scalp, air = _hu(shapes, *top)
    assert 20 < brain < 45
    assert bone > 600
    assert scalp == pytest.approx(tissue.fat, abs=1)
    assert air == -1000


def test_between_two_legs_is_air_and_each_has_a_bone(tissue):
    shapes = legs(Draws(0, stream=5), ONE, tissue)
    between, right, left = _hu(shapes, [0, 0, -800], [92, 1, -760], [-92, 1, -760])
    assert between == -1000
    assert min(right, left) > tissue.fat
    assert max(shape.hu for shape in shapes) == 900.0


def test_nothing_below_the_pelvis_reaches_up_to_the_aortic_bifurcation(tissue):
    highest = max(shape.span(np.eye(3))[1][2] for shape in legs(Draws(1, stream=5), ONE, tissue))
    assert highest < -330


def test_most_tables_lie_below_the_back_and_some_beside_or_before_the_body():
    outs = []
    for seed in range(60):
        shell, foam = table(Draws(seed, stream=5), ONE)
        np.testing.assert_array_equal(shell.centre_mm, foam.centre_mm)
        assert (foam.radii_mm < shell.radii_mm)[:2].all()
        outs.append(tuple(np.round(shell.centre_mm / np.linalg.norm(shell.centre_mm)).astype(int)))
    assert outs.count((0, -1, 0)) > 35
    assert len(set(outs)) == 4
