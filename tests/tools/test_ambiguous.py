"""Wrong peaks, counted by hand."""

import runpy
from pathlib import Path

import numpy as np
from numpy.testing import assert_array_equal

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "ambiguous.py"))


def test_a_point_nearer_to_its_like_on_another_vertebra_is_wrong():
    names = ("V1_left", "V1_right", "V2_left", "V2_right")
    truth = np.array([[0.0, 0, 0], [30, 0, 0], [0, 20, 0], [30, 20, 0]])
    found = np.array([[0.0, 12, 0], [2, 0, 0], [0, 11, 0], [np.nan] * 3])
    # V1_left lies 12 from its own and 8 from V2's; V1_right is far off, but near no right corner but its own.
    assert_array_equal(TOOL["wrong_peaks"](found, truth, names), [True, False, False, False])
