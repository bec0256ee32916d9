from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lmk3d.apps.bone_age import AgeReading, BoneAgeModel, age_picture, age_scores, train_bone_age
from lmk3d.apps.films import blank_film
from lmk3d.errors import InputError
from lmk3d.landmarks import Assessment
from lmk3d.synthetic import HAND_BONES, hand_phantom

AGES = np.linspace(20, 210, 48)


@pytest.fixture(scope="module")
def hands():
    return [hand_phantom(seed, age_months=age).landmarks for seed, age in enumerate(AGES)]


@pytest.fixture(scope="module")
def folder(hands, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ages")
    train_bone_age(hands, AGES, folder, epochs=25, members=2)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return BoneAgeModel.load(folder / "bone_age.pt")


def changed(hand, points):
    return replace(hand, points_mm=points)


def test_trained_ages_beat_the_mean_age_on_other_hands(model):
    others = [hand_phantom(1000 + seed) for seed in range(40)]
    truth = [hand.age_months for hand in others]
    read = [model.read(hand.landmarks).months for hand in others]
    scores = age_scores(read, truth, mean_age=float(AGES.mean()))
    assert scores.mae_months < 0.7 * scores.mean_age_mae_months
    assert scores.r_squared > 0.4


def test_reading_is_the_mean_over_classes_and_members(model, hands):
    reading = model.read(hands[10])
    middles = 4 * (np.arange(len(reading.chances)) + 0.5)
    assert len(reading.chances) == 53  # 210 months lie in the class from 208 to 212
    assert reading.chances.sum() == pytest.approx(1)
    assert reading.months == pytest.approx(reading.chances @ middles)
    assert reading.likeliest_months == middles[reading.chances.argmax()]
    assert reading.rows()[0]["bone_age_months"] == reading.as_dict()["bone_age_months"] == reading.months


def test_model_comes_back_from_its_file_and_its_order_of_points_does_not_matter(model, hands, tmp_path):
    model.save(tmp_path / "copy.pt")
    copy = BoneAgeModel.load(tmp_path / "copy.pt")
    shuffled = hands[3].rows(np.random.default_rng(0).permutation(len(hands[3])))
    assert copy.read(shuffled).months == pytest.approx(model.read(hands[3]).months)


def test_killed_training_goes_on_to_the_same_weights(hands, tmp_path):
    whole = train_bone_age(hands, AGES, tmp_path / "whole", epochs=4, members=1)
    # Two epochs, then a new start that finds the checkpoint.
    train_bone_age(hands, AGES, tmp_path / "parts", epochs=2, members=1)
    parts = train_bone_age(hands, AGES, tmp_path / "parts", epochs=4, members=1)
    for one, two in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert torch.equal(one, two)


def lacking(hand, bone, count=16):
    points = hand.points_mm.copy()
    points[[row for row, name in enumerate(hand.names) if name.startswith(f"{bone}_")][:count]] = np.nan
    return changed(hand, points)


def doubted(hand):
    """The same hand, whose pisiform is not trusted; withheld, it would pass for one that has not appeared."""
    doubts = tuple("far off" if name.startswith("pisiform") else "" for name in hand.names)
    return replace(hand, assessment=Assessment((), doubts))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda hand: hand.rows(range(1, 272)), "lacks radius_01 and 0 more"),
        (lambda hand: replace(hand, unit="px"), "are in px, but the model was trained in mm"),
        (lambda hand: changed(hand, 5 * hand.points_mm), "from their middle on average.*is the unit right"),
        (lambda hand: changed(hand, hand.points_mm * [-1, 1, 1]), "mirrored against those of the training"),
        (lambda hand: lacking(hand, "ulna", 3), "3 of the 16 points of ulna are missing; place all or none"),
        (lambda hand: doubted(hand).withheld(), "not trusted: pisiform_.*(far off)"),
        (lambda hand: lacking(hand, "metacarpal_3"), "metacarpal_3 is missing, which no hand of the training lacked"),
    ],
)
def test_hands_unlike_the_training_are_refused(spoil, match, model, hands):
    with pytest.raises(InputError, match=match):
        model.read(spoil(hands[30]))


def test_film_of_another_hand_is_refused(model, hands):
    film = blank_film(hands[5])
    assert model.read(hands[5], film=film).months == model.read(hands[5]).months
    with pytest.raises(InputError, match="outside the film: "):
        model.read(changed(hands[5], hands[5].points_mm - [200.0, 0, 0]), film=film)


def test_bone_that_has_not_appeared_may_be_missing(model, hands):
    assert np.isfinite(model.read(lacking(hands[0], "pisiform")).months)


@pytest.mark.parametrize(
    ("ages", "match"),
    [([10.0], "2 hands came with 1 age;"), ([10.0, np.nan], "missing or not above 0"), ([10.0, -3], "give months")],
)
def test_wrong_ages_are_refused(ages, match, hands, tmp_path):
    with pytest.raises(InputError, match=match):
        train_bone_age(hands[:2], ages, tmp_path)


def test_units_that_differ_are_refused(hands, tmp_path):
    with pytest.raises(InputError, match="some hands are in mm and some in px"):
        train_bone_age([hands[0], replace(hands[1], unit="px")], [10, 20], tmp_path)


def test_bones_and_hands_without_any_point_are_refused(model, hands, tmp_path):
    without = [lacking(hand, "pisiform") for hand in hands[-2:]]
    with pytest.raises(InputError, match="no hand has pisiform; leave its points out"):
        train_bone_age(without, [10, 20], tmp_path)
    nothing = changed(hands[0], np.full_like(hands[0].points_mm, np.nan))
    with pytest.raises(InputError, match="hand 2 has none of the points"):
        train_bone_age([hands[0], nothing], [10, 20], tmp_path)
    with pytest.raises(InputError, match="all points are missing"):
        model.read(nothing)


def test_no_model_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a.pt: no such file"):
        BoneAgeModel.load(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"a.pt: is no bone age model"):
        BoneAgeModel.load(tmp_path / "a.pt")


def test_scores_are_those_worked_out_by_hand():
    scores = age_scores([12, 18, 36], [10, 20, 30], mean_age=25)
    assert scores.mae_months == pytest.approx((2 + 2 + 6) / 3)
    assert scores.r_squared == pytest.approx(1 - (4 + 4 + 36) / 200)
    assert scores.mean_age_mae_months == pytest.approx((15 + 5 + 5) / 3)
    with pytest.raises(ValueError, match="not all alike"):
        age_scores([1, 2], [3, 3], mean_age=3)


def test_picture_names_bones_and_the_age(hands):
    chances = np.array([0.1, 0.7, 0.2])
    reading = AgeReading(6.4, 0.5, 6.0, chances, 4.0)
    words = [text.get_text() for text in age_picture(hands[-1], reading, title="hand").axes[0].texts]
    assert {*HAND_BONES, "6 months (0.5 years)", "4 to 8 months", "70 %"} <= set(words)
    assert_allclose(reading.as_dict()["chances"], chances)
