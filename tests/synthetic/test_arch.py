from dataclasses import replace

import numpy as np
import pytest

from lmk3d.synthetic.anatomy import draw_anatomy
from lmk3d.synthetic.arch import Arch, draw_arch
from lmk3d.synthetic.chambers import Chambers
from lmk3d.synthetic.disease import Disease
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.shapes import Tube
from lmk3d.synthetic.variation import draw_variation

KNOTS = np.array([[19, 2, 48], [17, -10, 70], [4, -28, 88], [-12, -46, 84], [-20, -57, 63.0]])
ORIGINS = ("brachiocephalic_origin", "left_common_carotid_origin", "left_subclavian_origin")
RISING = Arch(slope=1.0, deep=1.2, before_mm=25.0, gaps=(0.8, 1.0))


def subject(seed, arch):
    """A body without disease, with this arch."""
    variation = replace(draw_variation(seed, "arterial"), arch=arch, disease=Disease(), chambers=Chambers())
    return draw_anatomy(seed, variation)


def tubes(anatomy, blood):
    return [shape for shape in anatomy.shapes if isinstance(shape, Tube) and shape.hu == blood]


def aorta(anatomy, seed):
    blood = draw_variation(seed, "arterial").tissue.blood
    return max((tube for tube in tubes(anatomy, blood) if tube.radii_mm.max() > 9), key=lambda one: len(one.points_mm))


def test_the_usual_arch_is_left_as_it_is():
    np.testing.assert_array_equal(Arch().bent(KNOTS), KNOTS)
    np.testing.assert_allclose(Arch().places(np.array([90.0, 104.5, 119.0]), 1.1), [90.0, 104.5, 119.0])


def test_a_rising_arch_is_highest_near_its_left_end():
    bent = RISING.bent(KNOTS)
    assert bent[:, 2].argmax() == 3
    assert (np.diff(bent[:4, 2]) > 0).all()
    assert bent[:, 2].max() == KNOTS[:, 2].max()
    assert Arch(rise=1.1).bent(KNOTS)[2, 2] == pytest.approx(1.1 * 88)


def test_places_move_to_the_front_and_apart():
    places = Arch(before_mm=20.0, gaps=(0.5, 2.0)).places(np.array([90.0, 104.0, 119.0]), 1.0)
    np.testing.assert_allclose(places, [70.0, 77.0, 107.0])


def test_branches_of_a_rising_arch_leave_before_its_highest_point(in_body):
    for seed in range(6):
        anatomy = subject(seed, RISING)
        path = aorta(anatomy, seed).points_mm @ anatomy.turn
        top, at = path[path[:, 2].argmax()], in_body(anatomy)
        assert all(at[name][1] > top[1] + 5 for name in ORIGINS)  # A: in front of it
        assert top[2] > at[ORIGINS[0]][2] - 8  # the axis of the arch rises to about the first origin on its outer wall


@pytest.mark.parametrize("arch", [RISING, Arch(along=(0.5, -0.5, 0.5)), Arch(gaps=(0.4, 0.5), trunk=0.7)])
def test_origins_lie_on_the_wall(arch, depth_mm):
    for seed in range(6):
        anatomy = subject(seed, arch)
        for name in ORIGINS:
            assert depth_mm(aorta(anatomy, seed), anatomy.landmarks[name][0]) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("part", [0.15, 0.4])
def test_a_bovine_carotid_leaves_the_trunks_wall_below_its_fork(part, depth_mm, in_body):
    for seed in range(6):
        anatomy = subject(seed, Arch(bovine=part))
        blood, at = draw_variation(seed, "arterial").tissue.blood, anatomy.landmarks
        start, fork = at["brachiocephalic_origin"][0], at["brachiocephalic_bifurcation"][0]
        trunk = next(
            tube
            for tube in tubes(anatomy, blood)
            if min(np.abs(tube.points_mm - end).sum(1).min() for end in (start, fork)) < 1e-6
            and np.abs(tube.points_mm[-1] - fork).sum() < 1e-6
        )
        origin = at["left_common_carotid_origin"][0]
        assert depth_mm(trunk, origin) == pytest.approx(0.0, abs=0.15)
        assert 0 < (origin - start) @ (fork - start) < (fork - start) @ (fork - start)
        assert in_body(anatomy)["left_common_carotid_origin"][0] < in_body(anatomy)["brachiocephalic_origin"][0] + 5


@pytest.mark.parametrize("name", ORIGINS)
def test_an_origin_measured_in_the_image_agrees_with_the_truth(name, origin_in_image):
    anatomy = subject(2, RISING)
    assert np.linalg.norm(origin_in_image(anatomy, name) - anatomy.landmarks[name][0]) < 0.3


def test_a_third_of_all_arches_are_usual_and_every_kind_occurs():
    drawn = [draw_arch(Draws(seed, stream=4)) for seed in range(300)]
    others = [one for one in drawn if one != Arch()]
    assert 160 < len(others) < 240
    assert 20 < sum(one.bovine is not None for one in others) < 50
    for low, high in ((-0.2, 0.3), (0.3, 0.8), (0.8, 1.2)):
        assert sum(low <= one.slope < high for one in others) > 40
    assert all(-8 <= one.before_mm < 66 for one in others)


def test_many_varied_arches_are_highest_behind_their_branches(in_body):
    """As in elderly patients: the aorta's axis goes on rising for more than 15 mm behind the last branch."""
    behind = 0
    for seed in range(40):
        anatomy = draw_anatomy(seed, draw_variation(seed, "arterial"))
        path, at = aorta(anatomy, seed).points_mm @ anatomy.turn, in_body(anatomy)
        behind += at["left_subclavian_origin"][1] - path[path[:, 2].argmax(), 1] > 15
    assert 4 <= behind <= 20
