import numpy as np
import pytest

from lmk3d.synthetic import cta_phantom
from lmk3d.synthetic.draws import rotation
from lmk3d.synthetic.tissue import Frame


def test_contrast_differs_between_subjects_and_tissues_look_like_a_cta(subjects, aorta_of):
    contrasts = [aorta_of(subject).hu for subject in subjects]
    assert min(contrasts) > 250
    assert max(contrasts) < 500
    assert np.ptp(contrasts) > 150
    data = cta_phantom(3, region="torso", shape=(50, 40, 60), oblique=False, noise_hu=0.0).volume.data
    assert (data < -990).mean() > 0.1  # air about the body
    assert ((data > -900) & (data < -750)).mean() > 0.03  # lungs
    assert ((data > -120) & (data < -80)).mean() > 0.1  # fat
    assert ((data > 40) & (data < 130)).mean() > 0.1  # muscle and organs
    assert (data > 200).mean() > 0.01  # blood and bone


def test_a_frame_turns_and_scales_offsets_from_the_valve():
    frame = Frame(np.array([1.0, 2.0, 3.0]), rotation(0, 0, 90), 2.0)
    np.testing.assert_allclose(frame.at([1, 0, 0], [0, 0, 1]), [[1, 4, 3], [1, 2, 5]], atol=1e-12)


def test_a_direction_of_a_frame_keeps_length_one():
    frame = Frame(np.zeros(3), rotation(0, 0, 90), 2.0)
    np.testing.assert_allclose(frame.to(3, 0, 4), [0, 0.6, 0.8], atol=1e-12)
    assert np.linalg.norm(frame.to(1, 2, 3)) == pytest.approx(1.0)
