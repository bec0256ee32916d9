import numpy as np
import pytest

from lmk3d.synthetic import cta_phantom
from lmk3d.synthetic.trunk import into_chest


def test_a_point_in_the_chest_stays_where_it_is():
    np.testing.assert_array_equal(into_chest(np.array([-30.0, 40.0, -30.0]), np.ones(3)), 0.0)


def test_a_point_outside_the_chest_is_shifted_to_nine_tenths_of_its_width():
    # At height -30 the chest is 136 mm wide to each side, its middle 6 mm in front.
    shift = into_chest(np.array([-200.0, 6.0, -30.0]), np.ones(3))
    np.testing.assert_allclose(shift, [200 - 0.9 * 136, 0, 0])


def test_the_apex_of_every_heart_lies_inside_the_chest(subjects, in_body):
    for subject in subjects:
        middle = (subject.spine_mm @ subject.turn).mean(0)
        assert np.abs(in_body(subject)["heart_apex"] - middle)[:2].max() < 150


@pytest.mark.parametrize("seed", [1, 2])
def test_the_liver_lies_on_the_right_and_air_about_the_body(seed):
    phantom = cta_phantom(seed, region="torso", shape=(60, 50, 70), oblique=False, noise_hu=0.0)
    data, grid = phantom.volume.data, phantom.volume.grid
    places = grid.to_mm(np.argwhere((data > 65) & (data < 100)))
    coeliac = phantom.all_landmarks["coeliac_origin"][0]
    places = places[np.abs(places[:, 2] - coeliac[2]) < 40]
    assert (places[:, 0] > coeliac[0]).sum() > 2 * (places[:, 0] < coeliac[0]).sum()
    assert (data[[0, -1]] < -990).mean() > 0.7
