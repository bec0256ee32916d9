"""Worst case: truth and prediction in one readable picture."""

import numpy as np
import pytest

from lmk3d.plots import worst_case


@pytest.mark.parametrize("shift", [(3, 4, 0), (6, -5, 7), (0, 0, 0), (900, 0, 0)])
def test_a_worst_case_is_legible_and_says_the_distance(volume, words, assert_legible, shift):
    truth = volume.grid.center_mm
    figure = worst_case(volume, truth, truth + shift, title="a case   a landmark")
    assert_legible(figure)
    assert f"a case   a landmark   {np.linalg.norm(shift):.2f} mm apart" in words(figure)
    assert ("tilted" in words(figure)) == (shift == (6, -5, 7))


def test_a_worst_case_on_a_film_has_no_letters(film, words, assert_legible):
    figure = worst_case(film, (-40, -60, 0), (-43, -64, 0), title="film", unit="px")
    assert_legible(figure)
    assert "film   5.00 px apart" in words(figure)
    assert not {"R", "L", "A", "P", "S", "I"} & set(words(figure).split(" | "))
