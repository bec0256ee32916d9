"""Coverage of radii, by hand."""

import numpy as np
import pytest

from lmk3d.landmarks import Landmarks
from lmk3d.metrics import compare
from lmk3d.reliability import RadiusFigures, radius_summary

GONE = [np.nan] * 3


def test_coverage_and_median_radius_by_hand():
    truth = Landmarks(("a", "b", "c"), [[0, 0, 0], [0, 0, 0], GONE])
    rows = []
    for error, radius in ((1.0, 1.0), (2.0, 1.5), (3.0, 4.0), (9.0, np.nan)):
        predicted = Landmarks(("a", "b", "c"), [[error, 0, 0], GONE, [5, 5, 5]], None, [radius, np.nan, 1.0])
        rows += compare(truth, predicted, "abc")
    found = radius_summary(rows, "abc", 0.9)
    assert found.coverage == 0.9
    assert found.overall == RadiusFigures(3, pytest.approx(2 / 3), 1.5)
    assert found.landmarks["a"] == found.overall  # b was missed, c has no ground truth
    assert (found.landmarks["b"].n, found.landmarks["c"].n) == (0, 0)
    assert np.isnan(found.landmarks["b"].within)
