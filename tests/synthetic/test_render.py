import numpy as np
import pytest

from lmk3d.geometry import Grid
from lmk3d.landmarks import Landmarks
from lmk3d.synthetic import render as room
from lmk3d.synthetic.anatomy import Anatomy, draw_anatomy
from lmk3d.synthetic.draws import Draws, rotation
from lmk3d.synthetic.render import render
from lmk3d.synthetic.shapes import Ellipsoid


def ball(radius=6.0, hu=900.0, centre=(0.0, 0.0, 0.0)):
    shape = Ellipsoid(hu, np.array(centre), np.eye(3), np.full(3, radius))
    return Anatomy((shape,), Landmarks((), np.empty((0, 3))), -100.0, np.eye(3), np.zeros(3), np.zeros((2, 3)))


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (0.8, 0.5, 2.5), (1.7, 1.7, 1.7)])
def test_a_balls_mass_and_centre_survive_rendering_at_any_spacing(spacing):
    grid = Grid.around((0.3, -0.4, 0.6), np.ceil(20 / np.array(spacing)).astype(int), spacing, rotation(20, 30, 40))
    centre = np.array([0.2, 0.1, -0.3])
    excess = render(ball(centre=centre), grid).data + 100.0
    assert excess.sum() * np.prod(spacing) / 1000 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.06)
    places = grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    np.testing.assert_allclose((places * excess[..., None]).sum((0, 1, 2)) / excess.sum(), centre, atol=0.02)


def test_a_thick_slice_is_the_mean_of_thin_ones():
    thin = Grid.around((0, 0, 0), (24, 24, 24), 1.0)
    thick = thin.coarsened((1, 1, 4))
    expected = render(ball(), thin).data.reshape(24, 24, 6, 4).mean(-1)
    np.testing.assert_allclose(render(ball(), thick).data, expected, atol=1)


def test_slabs_and_bricks_leave_no_seams(monkeypatch):
    anatomy, grid = draw_anatomy(3), Grid.around((0, 0, 0), (22, 24, 26), 16.0, rotation(5, 10, 15))
    whole = render(anatomy, grid, noise_hu=20.0, draws=Draws(1, stream=3)).data
    monkeypatch.setattr(room, "_SLAB_VOXELS", 7 * 24 * 26)
    monkeypatch.setattr(room, "_BRICK_SIDE", 11)
    parts = render(anatomy, grid, noise_hu=20.0, draws=Draws(1, stream=3)).data
    np.testing.assert_allclose(parts, whole, atol=1)
    assert (parts != whole).mean() < 1e-3


def test_a_flipped_grid_shows_the_same_voxels_in_reverse():
    anatomy, grid = draw_anatomy(4), Grid.around((0, 0, 0), (32, 36, 40), 5.0)
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.to_mm((31, 0, 0))
    affine[:3, 0] *= -1
    flipped = render(anatomy, Grid(grid.shape, affine)).data
    np.testing.assert_allclose(flipped[::-1], render(anatomy, grid).data, atol=1)


def test_a_sheared_grid_is_refused():
    affine = np.eye(4)
    affine[0, 1] = 0.3
    with pytest.raises(ValueError, match="right angles"):
        render(ball(), Grid((4, 4, 4), affine))


def test_noise_without_random_numbers_is_refused():
    with pytest.raises(ValueError, match="draws is None"):
        render(ball(), Grid((4, 4, 4), np.eye(4)), noise_hu=5.0)


def test_hounsfield_units_stay_within_twelve_bits():
    data = render(ball(hu=9000.0), Grid.around((0, 0, 0), (8, 8, 8), 1.0)).data
    assert data.dtype == np.int16
    assert data.max() == 3071


def test_resolution_and_obliquity_show_one_and_the_same_subject():
    subject = draw_anatomy(6)
    centre = subject.landmarks["left_coronary_ostium"][0]
    straight = Grid.around(centre, (80, 80, 80), 0.5)
    turned = Grid.around(
        centre, (60, 60, 60), (1.0, 0.8, 0.9), Draws(8, stream=0).tilt(40.0)[:, [2, 0, 1]] * [1, -1, -1]
    )
    fine, coarse = render(subject, straight).data.astype(float), render(subject, turned).data
    # Voxels of the turned grid that lie well within the straight one, against its nearest voxels in even tissue.
    index = np.stack(np.meshgrid(*[np.arange(60)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    nearest = np.rint(straight.to_vox(turned.to_mm(index))).astype(int)
    inside = ((nearest > 2) & (nearest < 77)).all(1)
    nearest, index = nearest[inside], index[inside]
    around = np.stack(
        [fine[tuple((nearest + step).T)] for step in np.vstack([2 * np.eye(3), -2 * np.eye(3)]).astype(int)]
    )
    even = np.ptp(around, axis=0) < 5
    assert even.sum() > 5000
    difference = fine[tuple(nearest[even].T)] - coarse[tuple(index[even].T)]
    assert np.mean(np.abs(difference) > 10) < 0.02
