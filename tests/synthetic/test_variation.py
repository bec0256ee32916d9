from dataclasses import asdict

import numpy as np
import pytest

from lmk3d.synthetic.anatomy import draw_anatomy
from lmk3d.synthetic.variation import draw_variation


@pytest.fixture(scope="module")
def variations():
    return [draw_variation(seed) for seed in range(150)]


def test_a_seed_draws_the_same_variation():
    assert asdict(draw_variation(12)) == asdict(draw_variation(12))
    assert asdict(draw_variation(12).tissue) != asdict(draw_variation(13).tissue)


def test_every_phase_but_the_unenhanced_is_drawn(variations):
    counts = {
        phase: sum(one.phase == phase for one in variations) for phase in ("arterial", "right_heart", "late", "weak")
    }
    assert sum(counts.values()) == len(variations)
    assert min(counts.values()) >= 8
    assert counts["arterial"] > 70


@pytest.mark.parametrize(
    ("phase", "blood", "right", "vein"),
    [
        ("arterial", (220, 800), (30, 1030), (30, 180)),
        ("right_heart", (130, 300), (176, 1040), (30, 140)),
        ("late", (130, 260), (125, 255), (110, 230)),
        ("weak", (120, 230), (30, 180), (30, 100)),
        ("unenhanced", (30, 60), (30, 60), (30, 60)),
    ],
)
def test_contrast_is_where_its_phase_says(phase, blood, right, vein):
    for seed in range(40):
        tissue = draw_variation(seed, phase).tissue
        for hu, (low, high) in zip(
            (tissue.blood, tissue.right_blood, tissue.vein_blood), (blood, right, vein), strict=True
        ):
            assert low <= hu <= high
        assert -125 <= tissue.fat <= -75
        assert -930 <= tissue.lung <= -700
        assert 35 <= tissue.muscle <= 75


def test_undiluted_contrast_fills_the_upper_caval_vein_of_some_but_never_without_contrast(variations):
    dense = [one for one in variations if one.tissue.cava >= 600 and one.tissue.cava != one.tissue.right_blood]
    assert 40 < len(dense) < 100
    assert any(one.tissue.arm_vein == one.tissue.cava for one in dense)
    assert all(draw_variation(seed, "unenhanced").tissue.cava < 61 for seed in range(30))


def test_bodies_differ_more_in_size_than_usual_ones(variations, subjects):
    def height(anatomies):
        return np.array([np.linalg.norm(np.diff(one.spine_mm, axis=0)) for one in anatomies])

    varied = height([draw_anatomy(seed, variations[seed]) for seed in range(30)])
    usual = height(subjects)
    assert varied.std() > 1.3 * usual.std()
    assert 0.6 * usual.mean() < varied.min() < varied.max() < 1.5 * usual.mean()


def test_without_a_variation_a_subject_is_the_usual_one():
    one, other = draw_anatomy(3), draw_anatomy(3, draw_variation(3))
    assert np.abs(one.landmarks.points_mm - other.landmarks.points_mm).max() > 1
    assert len(other.shapes) > len(one.shapes)


def test_what_had_one_hu_keeps_one_hu_and_blood_stays_blood(variations):
    for seed in range(6):
        tissue = variations[seed].tissue
        values = {shape.hu for shape in draw_anatomy(seed, variations[seed]).shapes}
        assert {tissue.blood, tissue.right_blood, tissue.fat, tissue.lung, tissue.cava} <= values


def test_an_unknown_phase_is_refused():
    with pytest.raises(ValueError, match=r"phase must be one of arterial, .*, got 'venous'"):
        draw_variation(0, "venous")
