import numpy as np

from lmk3d.synthetic import AORTIC_LANDMARKS, CARDIAC_LANDMARKS
from lmk3d.synthetic.anatomy import draw_anatomy


def test_there_are_five_cardiac_and_nine_aortic_landmarks():
    assert len(CARDIAC_LANDMARKS) == 5
    assert len(set(CARDIAC_LANDMARKS + AORTIC_LANDMARKS)) == 14


# Drawn once and kept: another NumPy or another machine must find the same subject.
PINNED = {
    "right_coronary_ostium": [-17.000039611486, 18.010312521775, -0.645130477242],
    "left_main_bifurcation": [-35.714300904634, 7.337116012902, 23.540287918175],
    "heart_apex": [-105.958988765245, 34.96948552561, -51.754818376338],
    "brachiocephalic_bifurcation": [9.174704940059, -6.655463492549, 117.650291679735],
    "left_renal_origin": [-48.957807341315, -39.675502222779, -154.245726677099],
    "aortic_bifurcation": [-43.667861095509, -44.340316388676, -264.102155092395],
}


def test_a_seed_draws_the_same_landmarks_on_every_platform():
    found = draw_anatomy(2024).landmarks
    for name, expected in PINNED.items():
        np.testing.assert_allclose(found[name][0], expected, rtol=0, atol=1e-9, err_msg=name)


def test_left_is_left_and_front_is_front(subjects, in_body):
    for subject in subjects:
        at = in_body(subject)
        assert subject.turn[0, 0] > 0.9  # the body's right is the world's right, but for its pose
        right, front, up = at["heart_apex"] - at["non_coronary_commissure"]
        assert right < -15  # the apex points to the patient's left,
        assert up < -15  # downwards,
        assert front > 0 or right < -60  # and forwards, if not all to the left
        assert at["left_coronary_ostium"][0] < at["right_coronary_ostium"][0] - 3
        assert at["left_coronary_ostium"][1] < at["right_coronary_ostium"][1] - 5
        assert at["left_main_bifurcation"][0] < at["left_coronary_ostium"][0]
        assert at["left_renal_origin"][0] < at["aortic_bifurcation"][0] + 20
        assert at["left_renal_origin"][0] < at["right_renal_origin"][0] - 10
