import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.foreign import draw_object, misplaced, revalued, shuffled

GRID = Grid.around(np.array([12.0, -30.0, 7.0]), (24, 20, 17), (2.0, 3.0, 4.0))
BODY = Volume(np.arange(24 * 20 * 17, dtype=np.int16).reshape(24, 20, 17) % 1500 - 1000, GRID)


def test_objects_differ_in_size_background_and_values():
    objects = [draw_object(Draws(seed, stream=6), 4.0) for seed in range(25)]
    sizes = [one.grid.sides_mm.max() for one in objects]
    assert min(sizes) < 120
    assert max(sizes) > 230
    assert len({int(np.bincount(one.data.ravel() + 1024).argmax()) for one in objects}) > 3
    assert all(np.ptp(one.data) > 20 for one in objects)
    np.testing.assert_array_equal(objects[3].data, draw_object(Draws(3, stream=6), 4.0).data)


def test_a_misplaced_body_has_its_voxels_about_the_same_middle():
    seen = set()
    for seed in range(60):
        moved = misplaced(Draws(seed, stream=6), BODY)
        assert moved.data is BODY.data
        np.testing.assert_allclose(moved.grid.center_mm, GRID.center_mm)
        seen.add(tuple(np.round(moved.grid.axes @ GRID.axes.T, 6).ravel() + 0.0))
        ratio = moved.grid.spacing_mm[0] / GRID.spacing_mm[0]
        assert ratio == pytest.approx(1.0) or 0.25 <= ratio <= 0.55 or 1.75 <= ratio <= 2.6
        if ratio == pytest.approx(1.0):
            assert np.abs(moved.grid.affine - GRID.affine).max() > 1
    assert len(seen) == 10  # seven changes, two of them in two directions; and another size


def test_values_that_are_no_hu_are_shifted_inverted_stretched_or_reordered():
    trends = []
    for seed in range(40):
        changed = revalued(Draws(seed, stream=6), BODY)
        assert changed.data.dtype == np.int16
        assert changed.grid is BODY.grid
        assert np.abs(changed.data.astype(float) - BODY.data).mean() > 50
        trends.append(np.corrcoef(changed.data.ravel(), BODY.data.ravel())[0, 1])
    assert min(trends) < -0.9
    assert max(trends) > 0.95
    assert any(abs(trend) < 0.85 for trend in trends)


def test_shuffling_keeps_the_voxels_and_changes_their_places():
    for seed in range(8):
        mixed = shuffled(Draws(seed, stream=6), BODY)
        whole = mixed.data.size == BODY.data.size
        if whole:
            np.testing.assert_array_equal(np.sort(mixed.data.ravel()), np.sort(BODY.data.ravel()))
        part = BODY.data[tuple(slice(0, side) for side in mixed.data.shape)]
        assert (mixed.data != part).mean() > 0.5
        np.testing.assert_array_equal(mixed.grid.affine, GRID.affine)
        assert mixed.grid.shape == mixed.data.shape
