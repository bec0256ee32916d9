from dataclasses import replace

import numpy as np
import pytest

from lmk3d.synthetic.anatomy import draw_anatomy
from lmk3d.synthetic.chambers import Chambers, draw_chambers
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.shapes import Ellipsoid
from lmk3d.synthetic.tissue import Frame
from lmk3d.synthetic.variation import draw_variation

FRAME = Frame(np.zeros(3), np.eye(3), 1.0)
CENTRE, RADII = np.array([-5.0, -36, -5]), np.array([33.0, 19, 24])


def test_usual_chambers_are_left_as_they_are():
    for grown in (Chambers().grown_left, Chambers().grown_right):
        centre, radii = grown(CENTRE, RADII, FRAME)
        np.testing.assert_array_equal(centre, CENTRE)
        np.testing.assert_array_equal(radii, RADII)
    assert Chambers().mixture(Ellipsoid(0.0, CENTRE, np.eye(3), RADII)) == []


def test_a_large_left_atrium_grows_more_to_the_back_than_to_the_valve():
    centre, radii = Chambers(left=(1.4, 1.4, 1.4)).grown_left(CENTRE, RADII, FRAME)
    np.testing.assert_allclose(radii, 1.4 * RADII)
    back, front = centre[1] - radii[1], centre[1] + radii[1]
    assert (CENTRE[1] - RADII[1]) - back > 2 * (front - (CENTRE[1] + RADII[1])) > 0


def test_a_large_right_atrium_grows_more_to_the_right():
    centre, radii = Chambers(right=(1.3, 1.0, 1.0)).grown_right(CENTRE, RADII, FRAME)
    right, left = centre[0] + radii[0], centre[0] - radii[0]
    assert right - (CENTRE[0] + RADII[0]) > 2 * ((CENTRE[0] - RADII[0]) - left) > 0


def test_clouds_lie_within_their_chamber_for_the_most_part():
    tissue = draw_variation(0, "right_heart").tissue
    for seed in range(60):
        drawn = draw_chambers(Draws(seed, stream=4), tissue)
        for cloud in drawn.mixture(Ellipsoid(0.0, CENTRE, np.eye(3), RADII)):
            assert (np.abs(cloud.centre_mm - CENTRE) <= 0.4 * RADII).all()
            assert (np.abs(cloud.centre_mm - CENTRE) + cloud.radii_mm < 0.96 * RADII).all()
            assert tissue.vein_blood <= cloud.hu <= max(tissue.cava, tissue.right_blood)


def test_half_of_all_hearts_are_usual_and_a_third_cloudy():
    tissue = draw_variation(0, "right_heart").tissue
    drawn = [draw_chambers(Draws(seed, stream=4), tissue) for seed in range(200)]
    assert 70 < sum(one.left == (1.0, 1.0, 1.0) for one in drawn) < 130
    assert 45 < sum(bool(one.clouds) for one in drawn) < 95
    assert sum(np.prod(one.left) > 2 for one in drawn) > 10


def test_without_contrast_clouds_show_none():
    tissue = draw_variation(0, "unenhanced").tissue
    drawn = [cloud for seed in range(60) for cloud in draw_chambers(Draws(seed, stream=4), tissue).clouds]
    assert drawn
    assert all(hu == pytest.approx(tissue.blood) for *_, hu in drawn)


def test_chambers_move_no_landmark():
    for seed in range(4):
        variation = draw_variation(seed, "arterial")
        one, other = (
            draw_anatomy(seed, replace(variation, chambers=chambers))
            for chambers in (Chambers(), Chambers((1.4, 1.3, 1.3), (1.3, 1.2, 1.1)))
        )
        np.testing.assert_array_equal(one.landmarks.points_mm, other.landmarks.points_mm)
