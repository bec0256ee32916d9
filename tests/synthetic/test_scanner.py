import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume
from lmk3d.synthetic import scanner
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.scanner import scanned

GRID = Grid.around(np.array([5.0, -3.0, 8.0]), (40, 36, 30), 2.0)


def _even(hu):
    return Volume(np.full(GRID.shape, hu, dtype=np.int16), GRID)


def test_a_seed_scans_alike_and_another_does_not():
    one, two, other = (scanned(_even(40), Draws(seed, stream=7)).data for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).mean() > 0.5


def test_noise_is_stronger_in_some_scans_and_adds_nothing_on_average():
    levels = []
    for seed in range(30):
        data = scanned(_even(-100), Draws(seed, stream=7)).data.astype(float)
        inside = data[data > -900]  # not beside a round field of view
        levels.append(np.std(np.diff(inside)))
        assert abs(np.median(inside) + 100) < 30
    assert min(levels) < 15
    assert max(levels) > 35


def test_values_stay_those_of_a_ct():
    for seed in range(12):
        for hu in (-1024, 3071):
            data = scanned(_even(hu), Draws(seed, stream=7)).data
            assert data.dtype == np.int16
            assert -1024 <= data.min() <= data.max() <= 3071


def test_some_fields_of_view_are_round():
    corners = [scanned(_even(300), Draws(seed, stream=7)).data[0, 0].max() for seed in range(60)]
    assert 3 <= sum(corner < -900 for corner in corners) <= 20


def test_streaks_are_strongest_at_the_metal_and_only_in_its_slices():
    point = GRID.to_mm(np.array([[20.0, 18, 15]]))[0]
    streaks = scanner._streaks(Draws(3, stream=7), GRID, point)
    assert streaks.shape == GRID.shape
    assert np.abs(streaks[17:24, 15:22, 15]).max() > 2 * np.abs(streaks[:3, :3, 15]).max()
    assert np.abs(streaks[:, :, 0]).max() == 0


def test_a_cloud_is_smooth_and_stays_between_minus_one_and_one():
    cloud = scanner._cloud(Draws(3, stream=7), GRID, 30.0)
    assert cloud.shape == GRID.shape
    assert np.abs(cloud).max() <= 1
    assert np.abs(cloud).max() > 0.3
    assert max(np.abs(np.diff(cloud, axis=axis)).max() for axis in range(3)) < 0.2


def test_rings_are_round_about_the_middle_of_the_slices():
    rings = scanner._rings(Draws(3, stream=7), GRID)
    np.testing.assert_array_equal(rings[:, :, 0], rings[:, :, 29])
    np.testing.assert_allclose(rings, rings[::-1], atol=1e-3)
    assert np.ptp(rings) > 5


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_starvation_runs_from_side_to_side_however_voxels_are_stored(order):
    grid = Grid.around(np.zeros(3), [(30, 20, 10)[axis] for axis in order], 2.0, np.eye(3)[:, list(order)])
    streaks = scanner._starvation(Draws(3, stream=7), grid)
    assert streaks.shape[order.index(0)] == 1
    assert streaks.size == 200
    assert np.abs(streaks).max() > 5
