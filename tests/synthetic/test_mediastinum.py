import numpy as np
import pytest

from lmk3d.synthetic import film_phantom


@pytest.mark.parametrize("count", range(6))
def test_as_many_spinous_processes_as_asked_for_share_one_name(count):
    landmarks = film_phantom(3, kind="mediastinum", side_px=64, spinous=count).landmarks
    assert landmarks.names == (*["spinous_process"] * count, "tracheal_bifurcation")
    heights = -landmarks["spinous_process"][:, 1]
    assert (np.diff(heights) > 15).all()  # one a vertebra, from above down


def test_drawn_films_have_every_number_of_them():
    drawn = [film_phantom(seed, kind="mediastinum", side_px=32).landmarks for seed in range(60)]
    assert {len(one["spinous_process"]) for one in drawn} == set(range(6))
    assert all(len(one["tracheal_bifurcation"]) == 1 for one in drawn)


def test_only_processes_that_are_named_can_be_seen():
    with_them = film_phantom(6, kind="mediastinum", side_px=260, spinous=4)
    without = film_phantom(6, kind="mediastinum", side_px=260, spinous=0)
    at = with_them.volume.grid.to_vox(with_them.landmarks["spinous_process"]).round().astype(int)
    step = with_them.volume.data.astype(float) - without.volume.data
    seen = [step[row - 1 : row + 2, column - 1 : column + 2].mean() for row, column, _ in at]
    assert min(seen) > 8


def test_the_bifurcation_is_dark_between_its_tubes():
    film = film_phantom(9, kind="mediastinum", side_px=260, spinous=0)
    row, column, _ = film.volume.grid.to_vox(film.landmarks["tracheal_bifurcation"])[0].round().astype(int)
    data = film.volume.data[:, :, 0].astype(float)
    assert (
        data[row - 3 : row, column - 1 : column + 2].mean() < data[row + 25 : row + 35, column - 3 : column + 4].mean()
    )


def test_more_than_five_are_refused():
    with pytest.raises(ValueError, match="spinous must be 0 to 5, got 6"):
        film_phantom(1, kind="mediastinum", side_px=64, spinous=6)
