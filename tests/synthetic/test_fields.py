import numpy as np
import pytest

from lmk3d.synthetic import CARDIAC_LANDMARKS
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.fields import BODY_VIEWS, draw_field


def _seen(subjects, view, names):
    grids = [draw_field(Draws(seed, stream=7), subject, view, 3.0) for seed, subject in enumerate(subjects)]
    return np.mean([
        grid.contains(np.concatenate([one.landmarks[name] for name in names])).mean()
        for grid, one in zip(grids, subjects, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("view", "least"), [("heart", 0.75), ("chest", 0.75), ("aorta", 0.75), ("body", 0.75), ("abdomen", 0.0)]
)
def test_most_views_of_the_chest_show_most_of_the_heart(subjects, view, least):
    assert least <= _seen(subjects, view, CARDIAC_LANDMARKS) < 1.0


def test_an_abdomen_shows_its_arteries_and_hardly_any_heart(subjects):
    assert _seen(subjects, "abdomen", ("coeliac_origin", "right_renal_origin", "left_renal_origin")) > 0.8
    assert _seen(subjects, "abdomen", CARDIAC_LANDMARKS) < 0.35


@pytest.mark.parametrize("view", ["pelvis", "neck"])
def test_a_pelvis_and_a_neck_show_no_landmark(subjects, view):
    assert _seen(subjects, view, subjects[0].landmarks.names) < 0.01


@pytest.mark.parametrize("view", BODY_VIEWS)
def test_voxels_lie_in_every_order_and_are_as_large_as_asked(subjects, view):
    handed, sides = set(), []
    for seed, subject in enumerate(subjects):
        grid = draw_field(Draws(seed, stream=7), subject, view, 2.0)
        handed.add(bool(np.linalg.det(grid.axes) > 0))
        assert grid.spacing_mm.min() == pytest.approx(2.0)
        assert grid.spacing_mm.max() <= 5.0
        assert max(grid.shape) <= 512
        sides.append(grid.sides_mm.max())
    assert handed == {True, False}
    assert np.ptp(sides) > 60


def test_drawn_voxels_are_those_of_a_scanner(subjects):
    for seed, subject in enumerate(subjects):
        heart, chest = (draw_field(Draws(seed, stream=7), subject, view) for view in ("heart", "chest"))
        assert 0.4 <= heart.spacing_mm.min() < 0.8
        assert 0.6 <= chest.spacing_mm.min() < 1.2
