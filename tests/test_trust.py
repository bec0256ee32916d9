"""An assessment of new scans: nothing of those like the training's, a reason in the user's words for all others."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lmk3d.evidence import Evidence, ImageEvidence
from lmk3d.trust import Displacements, Trust

NAMES = ("apex", "root", "fork", "arch")
SHAPE = np.array([[0.0, 0, 0], [40, 0, 0], [0, 50, 0], [0, 0, 60]])


def scan(seed, **changes):
    """A scan of the kind that is trained on, or with some of what is noted of it changed."""
    draw = np.random.default_rng(seed)
    levels = np.sort(draw.normal(size=7) * 0.02 + np.linspace(0.2, 0.8, 7))
    image = ImageEvidence(
        (draw.normal(size=6), draw.normal(size=8)), np.r_[levels, 0.1], (-200.0, 800.0), draw.uniform(180, 220, 3)
    )
    points = SHAPE + draw.normal(scale=1.5, size=(4, 3))
    first = points + draw.normal(scale=1.0, size=(4, 3))
    case = Evidence(image, np.arange(4), np.ones(4, bool), {"heatmap": first, "refined 1": points}, np.full(4, 0.3))
    of_image = {name: value for name, value in changes.items() if hasattr(image, name)}
    rest = {name: value for name, value in changes.items() if name not in of_image}
    return replace(case, image=replace(image, **of_image), **rest)


def learnt(count=24, checks=8, **options):
    training, validation = [scan(seed) for seed in range(count)], [scan(1000 + seed) for seed in range(checks)]
    shapes = np.array([list(case.stages.values())[-1] for case in training])
    return Trust.learn(NAMES, training, validation, shapes, **{"turned": False, **options})


@pytest.fixture(scope="module")
def trust():
    return Trust.from_dict(json.loads(json.dumps(learnt().to_dict())))


def only_reason(trust, **changes):
    found = trust.assess(scan(77, **changes))
    assert found.verdict == "unlike the training data"
    (reason,) = found.reasons
    return reason


@pytest.mark.parametrize("count", [8, 24])
def test_scans_like_those_of_the_training_are_trusted(count):
    known = learnt(count)
    assert sum(known.assess(scan(5000 + seed)).verdict != "trusted" for seed in range(100)) <= 3


def test_each_signal_says_what_is_unlike(trust):
    assert "its appearance is unlike that of the training images" in only_reason(
        trust, features=(np.full(6, 9.0), np.zeros(8))
    )
    brighter = scan(77).image.intensities + 0.5
    assert "its intensities are unlike those of the training images (" in only_reason(trust, intensities=brighter)
    size = only_reason(trust, sides=np.array([200.0, 200, 440]))
    assert size == "a side of its field of view is 2.0 times as long as the longest in training"
    assert "0.5" in only_reason(trust, sides=np.array([200.0, 200, 90]))


def test_intensities_are_told_in_stored_numbers(trust):
    usual = scan(77).image.intensities
    reason = only_reason(trust, intensities=np.r_[usual[:4], 1, 1, 1, usual[7:]])
    assert "% of what is not black is brighter than 800; in training" in reason
    assert "of its own range" in only_reason(trust, intensities=np.r_[usual[:4], 1, 1, 1, usual[7:]], limits=None)
    dazzling = only_reason(trust, intensities=np.r_[usual[:7], 0.5])
    assert "50 % of it is brighter than the window shows; in training 10 to 10 %" in dazzling


def moved(points, row, by_mm):
    changed = {name: own.copy() for name, own in points.items()}
    for own in changed.values():
        own[row] += by_mm
    return changed


def test_one_point_in_a_wrong_place_is_the_only_doubt(trust):
    found = trust.assess(scan(77, stages=moved(scan(77).stages, 3, [0, 0, 150])))
    assert found.verdict == "doubtful"
    assert [bool(doubt) for doubt in found.doubts] == [False, False, False, True]
    assert "farther than in any training case (" in found.doubts[3]


def test_patients_that_lie_otherwise_are_told(trust):
    upside_down = {name: points * [-1, 1, -1] for name, points in scan(77).stages.items()}
    reason = only_reason(trust, stages=upside_down)
    assert "lies in another direction from" in reason
    assert learnt(turned=True).assess(scan(77, stages=upside_down)).verdict == "trusted"


def test_stages_that_disagree_are_told(trust):
    stages = scan(77).stages
    alone = {**stages, "heatmap": moved(stages, 2, [400.0, 0, 0])["heatmap"]}
    found = trust.assess(scan(77, stages=alone))
    assert [bool(doubt) for doubt in found.doubts] == [False, False, True, False]
    assert found.doubts[2].startswith("the stages 'heatmap' and 'refined 1' disagree by 4e+02 mm, usually by ")
    every = {**stages, "heatmap": stages["heatmap"] + 400.0}
    assert "disagree by" in only_reason(trust, stages=every)


def test_a_first_stage_that_is_unsure_of_a_place_is_told():
    def case(seed, elsewhere=None):
        drawn = np.random.default_rng(seed).uniform(0.03, 0.1, 4)
        return replace(scan(seed), elsewhere=drawn if elsewhere is None else np.array(elsewhere))

    known = [case(seed) for seed in range(34)]
    shapes = np.array([list(one.stages.values())[-1] for one in known])
    trust = Trust.from_dict(
        json.loads(json.dumps(Trust.learn(NAMES, known[:22], known[22:], shapes, turned=False).to_dict()))
    )
    assert trust.assess(case(77)).verdict == "trusted"
    found = trust.assess(case(77, [0.06, 0.6, 0.06, 0.06]))
    assert (found.verdict, found.doubts[0]) == ("doubtful", "")
    assert found.doubts[1].startswith("the first stage is 40 % sure of the place, usually 9")
    assert trust.assess(case(77, [0.5, 0.6, 0.5, 0.7])).verdict == "unlike the training data"
    (reason,) = replace(trust, joint=True).assess(case(77, [0.06, 0.6, 0.06, 0.06])).reasons
    assert reason.startswith("root: the first stage is 40 % sure of the place, usually 9")
    assert reason.endswith("; the others were counted with it")


def test_a_landmark_outside_the_image_is_no_doubt(trust):
    assert trust.assess(scan(77, there=np.array([True, True, True, False]))).verdict == "trusted"


def test_a_scan_in_which_nothing_was_found_is_not_trusted(trust):
    found = trust.assess(scan(77, there=np.zeros(4, bool)))
    assert found.reasons == ("none of its landmarks was found",)


def test_a_scan_is_like_the_training_where_one_window_of_it_is(trust):
    strange = (np.stack([np.full(6, 9.0), scan(77).image.features[0]]), np.stack([np.full(8, 9.0), np.zeros(8)]))
    assert trust.assess(scan(77, features=strange)).verdict == "trusted"


def test_lengths_are_told_in_the_unit_of_the_image(trust):
    stages = moved(scan(77).stages, 3, [0, 0, 150])
    assert " px from " in trust.assess(scan(77, stages=stages, unit="px", factor=0.5)).doubts[3]


def test_signals_without_cases_are_left_out():
    alone = learnt(2, 1)
    assert (alone.features, alone.intensities, alone.arrangement, alone.displacements) == ((), None, None, None)
    assert alone.assess(scan(77)).verdict == "trusted"
    assert Displacements.learn([], 4, 0.01) is None


def test_a_pose_that_another_one_contradicts_is_told():
    def case(seed, misfit, rival, **changes):
        return replace(scan(seed, **changes), apart=(misfit, rival))

    known = [case(seed, 0.1 + 0.01 * (seed % 5), 0.4 + 0.02 * (seed % 7)) for seed in range(30)]
    shapes = np.array([list(one.stages.values())[-1] for one in known])
    trust = Trust.from_dict(
        json.loads(json.dumps(Trust.learn(NAMES, known[:22], known[22:], shapes, turned=True).to_dict()))
    )
    assert trust.assess(case(77, 0.12, 0.5)).verdict == "trusted"
    (reason,) = trust.assess(case(77, 0.12, 1.0)).reasons
    assert reason.startswith("another pose has 100 % of the support of the one kept, in training at most ")
    (reason,) = trust.assess(case(77, 0.6, 0.5)).reasons
    assert reason.startswith("its best pose explains 40 % of the landmarks, in training ")
    (reason,) = trust.assess(scan(77)).reasons
    assert reason == "no pose of the training shapes fits what was found"


def test_damaged_values_are_refused(trust):
    content = trust.to_dict()
    changes = [
        {"fields": [1.0]},
        {"fields": [[float("nan")] * 3] * 2},
        {"names": NAMES[:3]},
        {"moves": {**content["moves"], "spread": []}},
        {"moves": {**content["moves"], "limit": "inf"}},
        {"intensities": {**content["intensities"], "limit": "nan"}},
        {"intensities": {**content["intensities"], "rows": [[1.0, 2.0]] * 9}},
    ]
    for broken in (None, *(content | change for change in changes)):
        with pytest.raises(ValueError, match=r"^trust: "):
            Trust.from_dict(broken)
