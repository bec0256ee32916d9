from __future__ import annotations

import numpy as np
import pytest

from lmk3d.cli.options import Parser
from lmk3d.cli.trust import add_keep_untrusted_argument, error_head, trust_lines, verdict_counts
from lmk3d.landmarks import Assessment, Landmarks


def assessed(reasons=(), doubts=("", "", "")):
    return Landmarks("abc", np.zeros((3, 3)), assessment=Assessment(tuple(reasons), tuple(doubts)))


@pytest.mark.parametrize(
    ("landmarks", "first"),
    [
        (Landmarks("a", [[0, 0, 0]]), "not assessed: "),
        (assessed(), "trusted: "),
        (assessed(doubts=("far off", "", "far off")), "DOUBTFUL: 2 of 3 points found not"),
        (assessed(["no CT"], ("far off", "", "")), "NOT TRUSTED: the scan is unlike the training data"),
    ],
)
def test_the_first_line_is_the_verdict(landmarks, first):
    assert trust_lines(landmarks)[0].startswith(first)


def test_reasons_follow_in_lines_that_fit_the_terminal():
    lines = trust_lines(assessed(["intensities are those of no CT", "far more than in any training case " * 4]))
    assert lines[1] == "  - intensities are those of no CT"
    assert lines[2].startswith("  - far more")
    assert lines[3].startswith("    ")
    assert max(map(len, lines)) <= 80


def test_points_of_one_doubt_share_a_line_and_many_lines_are_cut():
    assert trust_lines(assessed(doubts=("far off", "", "far off")))[1:] == ["  - a, c: far off"]
    many = [f"doubt {number}" for number in range(20)]
    lines = trust_lines(
        Landmarks([f"p{n}" for n in range(20)], np.zeros((20, 3)), assessment=Assessment((), tuple(many)))
    )
    assert lines[-1] == "  and 8 lines more; the files have all reasons"
    assert len(lines) == 14


def test_the_column_of_errors_says_what_it_is():
    points = np.zeros((1, 3))
    assert error_head(Landmarks("a", points)) == "expected error"
    assert error_head(Landmarks("a", points, coverage=0.9)) == "90 % radius"
    assert error_head(Landmarks("a", points, coverage=0.975)) == "97.5 % radius"


def test_scans_that_nobody_assessed_alone_are_not_counted():
    assert verdict_counts(["", ""]) == ""
    assert verdict_counts(["", "doubtful"]) == "0 trusted, 1 doubtful, 0 unlike the training data, 1 not assessed"


def test_untrusted_points_are_withheld_unless_asked_for():
    parser = Parser()
    add_keep_untrusted_argument(parser, "keep them")
    assert parser.parse_args([]).keep_untrusted is False
    assert parser.parse_args(["--keep-untrusted"]).keep_untrusted is True
