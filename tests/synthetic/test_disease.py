import numpy as np
import pytest

from lmk3d.geometry import Grid
from lmk3d.synthetic.anatomy import draw_anatomy
from lmk3d.synthetic.disease import Disease, draw_disease
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.render import Scene, render
from lmk3d.synthetic.shapes import Tube
from lmk3d.synthetic.variation import draw_variation

# A straight aorta of radius 10 mm down the S axis, its middle at the origin.
PATH = np.column_stack([np.zeros((101, 2)), np.linspace(150, -150, 101), np.full(101, 10.0)])


def _rendered(shapes):
    lumen = Tube(400.0, PATH[:, :3], PATH[:, 3])
    grid = Grid.around(np.zeros(3), (41, 41, 81), 1.0)
    return render(Scene((lumen, *shapes), -100.0), grid).data.astype(float)


@pytest.fixture
def tissue():
    return draw_variation(3, "arterial").tissue


def test_a_bulge_is_widest_in_its_middle_and_ends_where_it_says():
    wide = Disease(bulges=((0.5, 0.1, 0.8),)).widened(PATH)
    assert wide[50, 3] == pytest.approx(18.0)
    np.testing.assert_array_equal(wide[:40], PATH[:40])
    np.testing.assert_array_equal(wide[61:], PATH[61:])
    np.testing.assert_array_equal(wide[:, :3], PATH[:, :3])


def test_a_healthy_aorta_is_left_as_it_is(tissue):
    np.testing.assert_array_equal(Disease().widened(PATH), PATH)
    assert Disease().shapes(PATH, tissue) == []


def test_thrombus_fills_what_the_lumen_leaves(tissue):
    disease = Disease(lumen=(0.2, 0.8, 0.6), false_hu=50.0)
    image = _rendered(disease.shapes(PATH, tissue))
    assert image[24, 20, 40] == pytest.approx(tissue.blood, abs=1)  # 4 mm to the right: the middle of the lumen
    assert image[12, 20, 40] == pytest.approx(50, abs=1)  # 8 mm to the left: thrombus
    assert image[33, 20, 40] == -100  # 13 mm to the right: outside


def test_a_lumen_that_winds_by_half_a_turn_changes_sides(tissue):
    disease = Disease(lumen=(0.4, 0.6, 0.6), false_hu=50.0, angle_deg=(0.0, 180.0))
    image = _rendered(disease.shapes(PATH, tissue))
    assert image[12, 20, 64] == pytest.approx(50, abs=1)
    assert image[16, 20, 16] == pytest.approx(tissue.blood, abs=1)


def test_a_stent_graft_is_metal_inside_the_wall_between_its_ends(tissue):
    shapes = Disease(stent=(0.4, 0.6)).shapes(PATH, tissue)
    points = np.concatenate([ring.points_mm for ring in shapes])
    assert {ring.hu for ring in shapes} == {2600.0}
    assert np.hypot(points[:, 0], points[:, 1]).max() < 10.0
    assert np.abs(points[:, 2]).max() < 30 + 4.1
    assert _rendered(shapes).max() > 700


def test_half_of_all_subjects_are_healthy_and_every_disease_occurs():
    drawn = [draw_disease(Draws(seed, stream=4), 400.0) for seed in range(200)]
    sick = [one for one in drawn if one != Disease()]
    assert 60 < len(sick) < 120
    for kind in ("bulges", "lumen", "stent"):
        assert sum(bool(getattr(one, kind)) for one in sick) > 15
    for one in sick:
        assert all(0 < middle < 1 and growth <= 1.3 for middle, _, growth in one.bulges)
        assert one.lumen is None or 0.16 <= one.lumen[0] < one.lumen[1] <= 0.68


def test_origins_lie_on_the_wall_of_a_widened_aorta_too(depth_mm):
    checked = 0
    for seed in range(40):
        variation = draw_variation(seed)
        if not variation.disease.bulges:
            continue
        anatomy = draw_anatomy(seed, variation)
        tubes = [shape for shape in anatomy.shapes if isinstance(shape, Tube) and shape.hu == variation.tissue.blood]
        aorta = max((tube for tube in tubes if tube.radii_mm.max() > 10), key=lambda tube: len(tube.points_mm))
        for name in ("brachiocephalic_origin", "left_subclavian_origin", "coeliac_origin", "left_renal_origin"):
            assert depth_mm(aorta, anatomy.landmarks[name][0]) == pytest.approx(0.0, abs=0.2)
        checked += 1
    assert checked > 5
