from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.synthetic import HAND_BONES, hand_phantom


def outline(hand, bone):
    rows = [row for row, name in enumerate(hand.landmarks.names) if name.rpartition("_")[0] == bone]
    return hand.landmarks.points_mm[rows]


def area(points):
    x, y = points[:, 0], points[:, 1]
    return abs((x * np.roll(y, 1) - y * np.roll(x, 1)).sum()) / 2


def test_one_seed_gives_one_hand():
    first, again, other = hand_phantom(3), hand_phantom(3), hand_phantom(4)
    assert_array_equal(first.landmarks.points_mm, again.landmarks.points_mm)
    assert first.age_months == again.age_months != other.age_months
    assert 12 <= first.age_months <= 216


def test_bones_have_sixteen_points_on_a_film_and_appear_whole():
    hand = hand_phantom(0, age_months=30)
    assert len(hand.landmarks) == 16 * len(HAND_BONES) == 272
    assert_allclose(hand.landmarks.points_mm[hand.landmarks.present, 2], 0)
    for bone in HAND_BONES:
        assert np.isnan(outline(hand, bone)).all() in (True, False)
        assert np.isnan(outline(hand, bone)).all() == np.isnan(outline(hand, bone)).any()


def test_carpals_appear_with_age():
    seen = [
        {bone for bone in HAND_BONES if np.isfinite(outline(hand_phantom(1, age_months=age), bone)).all()}
        for age in (12, 216)
    ]
    assert {"radius", "capitate", "metacarpal_3"} <= seen[0]
    assert not {"pisiform", "scaphoid"} & seen[0]
    assert seen[1] == set(HAND_BONES)


def test_no_hand_lacks_capitate_or_hamate():
    for seed in range(60):
        young = hand_phantom(seed, age_months=12)
        assert np.isfinite([outline(young, bone) for bone in ("capitate", "hamate")]).all()


@pytest.mark.parametrize("bone", ["radius", "capitate", "radius_epiphysis"])
def test_bones_grow(bone):
    areas = [
        np.mean([area(outline(hand_phantom(seed, age_months=age), bone)) for seed in range(8)])
        for age in (50, 110, 200)
    ]
    assert areas[0] < areas[1] < areas[2]


def test_age_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"age_months must be in \[12, 216\], got 300"):
        hand_phantom(0, age_months=300)
