from __future__ import annotations

import math

import numpy as np

from lmk3d.label.ranking import UNFIT, Score, score_of, urgency
from lmk3d.landmarks import VERDICTS, Assessment, Landmarks


def test_the_least_trusted_come_first_and_the_unfit_last():
    ordered = [
        UNFIT,
        None,
        Score(0.2, "trusted"),
        Score(0.3),
        Score(9.0, "trusted"),
        Score(math.inf),
        Score(0.1, "doubtful"),
        Score(5.0, "doubtful"),
        Score(0.05, "unlike the training data"),
    ]
    assert sorted([*ordered[4:], *ordered[:4]], key=urgency) == ordered


def test_a_score_is_the_mean_error_of_the_points_that_are_there():
    points = Landmarks("abc", np.zeros((3, 3)), error_mm=[1.0, 2.0, np.nan])
    assert score_of(points) == Score(1.5)
    assert score_of(Landmarks("a", [[np.nan] * 3])) == Score(math.inf)
    for reasons, doubts, verdict in (((), ("",), 0), ((), ("far off",), 1), (("no CT",), ("",), 2)):
        assessed = Landmarks("a", [[0, 0, 0]], assessment=Assessment(reasons, doubts))
        assert score_of(assessed).verdict == VERDICTS[verdict]
