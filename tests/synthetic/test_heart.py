from dataclasses import replace

import numpy as np
import pytest

from lmk3d.synthetic.anatomy import draw_anatomy
from lmk3d.synthetic.shapes import Ellipsoid, Tube


def test_ostia_and_commissure_lie_on_the_walls_of_their_sinuses(subjects, aorta_of, depth_mm):
    for subject in subjects:
        blood = aorta_of(subject).hu
        sinuses = [s for s in subject.shapes if isinstance(s, Ellipsoid) and s.hu == blood and not s.shell_mm][-3:]
        for sinus, name in zip(
            sinuses, ("right_coronary_ostium", "left_coronary_ostium", "non_coronary_commissure"), strict=True
        ):
            assert depth_mm(sinus, subject.landmarks[name][0]) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("name", ["right_coronary_ostium", "left_coronary_ostium"])
def test_an_origin_measured_in_the_image_agrees_with_the_truth(seed, name, origin_in_image):
    subject = draw_anatomy(seed)
    assert np.linalg.norm(origin_in_image(subject, name) - subject.landmarks[name][0]) < 0.2


@pytest.mark.parametrize("seed", [0, 3])
def test_the_apex_is_the_muscles_tip_in_the_image(seed, surroundings, sample):
    subject = draw_anatomy(seed)
    truth = subject.landmarks["heart_apex"][0]
    ventricle = next(s for s in reversed(subject.shapes) if isinstance(s, Ellipsoid) and s.egg and s.hu > 200)
    axis = ventricle.axes[:, 2]
    volume = surroundings(
        replace(subject, shapes=tuple(s for s in subject.shapes if not isinstance(s, Tube))), "heart_apex"
    )
    steps = np.linspace(-4, 4, 161)
    profile = sample(volume, truth + steps[:, None] * axis)
    half = (profile[:30].mean() + profile[-30:].mean()) / 2
    assert abs(profile[:30].mean() - profile[-30:].mean()) > 30
    crossing = np.flatnonzero(np.diff(np.sign(profile - half)))[0]
    assert abs(steps[crossing] + 0.025) < 0.2
