import numpy as np
import pytest

from lmk3d.synthetic import AORTIC_LANDMARKS
from lmk3d.synthetic.anatomy import draw_anatomy

ORIGINS = [name for name in AORTIC_LANDMARKS if name.endswith("origin")]


def test_the_arch_runs_to_the_left_and_back_with_its_branches_in_order(subjects, in_body):
    for subject in subjects:
        at = in_body(subject)
        trunk, carotid, subclavian = (at[name] for name in ORIGINS[:3])
        assert trunk[0] > carotid[0] > subclavian[0]
        assert trunk[1] > carotid[1] > subclavian[1]
        assert at["brachiocephalic_bifurcation"][0] > trunk[0]
        assert at["brachiocephalic_bifurcation"][2] > trunk[2] + 15


def test_the_abdominal_branches_leave_in_order(subjects, in_body):
    for subject in subjects:
        at = in_body(subject)
        coeliac, mesenteric, right, left = (at[name] for name in ORIGINS[3:])
        assert coeliac[2] > mesenteric[2] > max(right[2], left[2]) - 3
        assert min(right[2], left[2]) > at["aortic_bifurcation"][2] + 40
        assert min(coeliac[1], mesenteric[1]) > left[1]


def test_every_origin_lies_on_the_aortas_wall(subjects, aorta_of, depth_mm):
    for subject in subjects:
        aorta = aorta_of(subject)
        for name in ORIGINS:
            assert depth_mm(aorta, subject.landmarks[name][0]) == pytest.approx(0.0, abs=0.08)


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("name", ["right_renal_origin", "coeliac_origin"])
def test_an_origin_measured_in_the_image_agrees_with_the_truth(seed, name, origin_in_image):
    subject = draw_anatomy(seed)
    assert np.linalg.norm(origin_in_image(subject, name) - subject.landmarks[name][0]) < 0.2
