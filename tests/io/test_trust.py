from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lmk3d.errors import InputError
from lmk3d.io import read_points, write_points
from lmk3d.io.trust import PointTrust, Said, assessment_of, parse_trust, trust_of
from lmk3d.landmarks import Assessment, Landmarks

PLAIN = ((), ("", "", ""))
DOUBTFUL = ((), ("", "the stages are 12.5 mm (3 spacings) apart", ""))
UNLIKE = (("intensities are those of no CT", "field of view 1.7 times as large (512 mm)"), ("", "far off", ""))
FORMATS = ("mrk.json", "fcsv", "csv", "tsv", "json")


def points(reasons, doubts, **given):
    places = [[1, 2, 3], [4, 5, 6], [np.nan] * 3]
    own = {"confidence": [0.9, 1.0, 0.1], "error_mm": [0.5, 0.7, np.nan], "coverage": 0.9} | given
    return Landmarks(("a", "b", "c"), places, assessment=Assessment(reasons, doubts), **own)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("said", [PLAIN, DOUBTFUL, UNLIKE])
@pytest.mark.parametrize("keep", [True, False])
def test_every_format_keeps_the_assessment(tmp_path, ending, said, keep):
    landmarks = points(*said).withheld(keep_points=keep)
    write_points(landmarks, tmp_path / f"a.{ending}")
    found = read_points(tmp_path / f"a.{ending}").ordered("abc")
    assert found.assessment == landmarks.assessment
    assert_array_equal(found.present, [True, True, False] if keep else landmarks.trusted & landmarks.present)
    assert_array_equal(found.held_back, landmarks.held_back)
    assert_array_equal(found.confidence, landmarks.confidence)
    if said is UNLIKE:
        assert found.error_mm is None or np.isnan(found.error_mm).all()
    else:
        assert found.coverage == 0.9
        assert_array_equal(found.error_mm, landmarks.error_mm)


@pytest.mark.parametrize("ending", FORMATS)
def test_no_file_holds_the_expected_error_of_a_point_that_is_not_trusted(tmp_path, ending):
    write_points(points(*DOUBTFUL, error_mm=[0.5, 0.777, np.nan]), tmp_path / f"a.{ending}")
    assert "0.777" not in (tmp_path / f"a.{ending}").read_text(encoding="utf-8")
    assert len(read_points(tmp_path / f"a.{ending}")["b"]) == 1


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_without_trust_says_none(tmp_path, ending):
    write_points(Landmarks("ab", np.ones((2, 3)), [0.9, 0.8], [0.1, 0.2]), tmp_path / f"a.{ending}")
    found = read_points(tmp_path / f"a.{ending}")
    assert found.assessment is None
    assert found.coverage is None
    assert found.trusted.all()


def test_separators_inside_a_reason_do_not_split_it():
    landmarks = points(("a | b\nc",), ("", "", ""))
    verdict, why = trust_of(landmarks, 0)
    assert parse_trust(Said(trust=verdict, why=why), "x") == PointTrust(("a / b c",))


def test_a_verdict_without_a_reason_is_no_trust():
    assert assessment_of([parse_trust(Said(trust="doubtful"), "x")]).doubts == ("no reason is given",)
    assert assessment_of([parse_trust(Said(trust="unlike the training data"), "x")]).reasons == ("no reason is given",)


def test_a_point_of_which_nothing_is_said_is_not_touched_by_the_reasons_of_others():
    assessment = assessment_of([PointTrust(("no CT",), "far off"), None])
    assert assessment == Assessment((), ("no CT | far off", ""))


@pytest.mark.parametrize("ending", FORMATS)
def test_a_landmark_that_was_never_found_is_missing_and_not_withheld(tmp_path, ending):
    nothing = Landmarks("ab", np.full((2, 3), np.nan), [0.1, 0.2], assessment=Assessment(("no CT",), ("", "")))
    write_points(nothing.withheld(), tmp_path / f"a.{ending}")
    found = read_points(tmp_path / f"a.{ending}")
    assert found.assessment == nothing.assessment
    assert not found.held_back.any()
    assert [trust_of(found, row) for row in range(2)] == [("missing", "no CT")] * 2


def test_a_point_placed_by_hand_where_one_was_missing_has_no_verdict(tmp_path):
    write_points(points(*UNLIKE).withheld(keep_points=True), tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text(encoding="utf-8")
    (tmp_path / "a.csv").write_text(text.replace("c,,,,", "c,7,8,9,"), encoding="utf-8")
    assert_array_equal(read_points(tmp_path / "a.csv").trusted, [False, False, True])


def test_the_word_missing_alone_is_no_assessment():
    assert assessment_of([parse_trust(Said(trust="missing"), "x"), None]) is None


@pytest.mark.parametrize("word", ["sure", 3, ["doubtful"]])
def test_other_words_are_refused(word):
    with pytest.raises(
        InputError, match=r"line 1: trust is .*; write trusted, doubtful, unlike the training data, missing"
    ):
        parse_trust(Said(trust=word), "line 1")
