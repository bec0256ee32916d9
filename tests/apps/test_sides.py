"""Points and images that belong together, and such that do not."""

import numpy as np
import pytest

from lmk3d.apps.sides import Side, read_side
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import write_image, write_points
from lmk3d.landmarks import Assessment, Landmarks


@pytest.fixture
def side(tmp_path):
    """Two points, of which one lies in the image, far from the world's origin."""
    data = np.random.default_rng(0).integers(0, 99, (24, 22, 20)).astype(np.int16)
    write_image(Volume(data, Grid.around((900, 900, 900), data.shape, 2.0)), tmp_path / "scan.nrrd")
    write_points(Landmarks(("a", "b"), [[901, 899, 905], [0, 0, 0]]), tmp_path / "points.json")
    return Side(tmp_path / "points.json", tmp_path / "scan.nrrd")


def test_points_come_with_their_image_or_alone(side):
    landmarks, volume = read_side(side)
    assert landmarks.names == ("a", "b")
    assert volume.grid.shape == (24, 22, 20)
    assert read_side(Side(side.points))[1] is None


def test_voxel_indices_taken_for_millimetres_are_noticed(side):
    write_points(Landmarks(("a", "b"), [[3, 4, 5], [20, 2, 9]]), side.points)
    with pytest.raises(InputError, match=r"no point lies in .*; they look like voxel indices; give points in world mm"):
        read_side(side)
    write_points(Landmarks(("a", "b"), [[-300, 4, 5], [20, 2, 900]]), side.points)
    with pytest.raises(InputError, match=r"no point lies in .*nrrd; give points in world mm and their own image"):
        read_side(side)


def test_a_film_without_spacing_is_no_image_of_points_in_mm(tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 50)).astype(np.uint8)).save(tmp_path / "film.png")
    write_points(Landmarks(("a",), [[-5, -6, 0]]), tmp_path / "film.json")
    with pytest.raises(InputError, match=r"film\.json: is in mm, its image .*film\.png in px; give the film's spacing"):
        read_side(Side(tmp_path / "film.json", tmp_path / "film.png"))
    assert read_side(Side(tmp_path / "film.json", tmp_path / "film.png", spacing_mm=0.5))[1].unit == "mm"


def test_points_that_are_not_trusted_are_told(side, capsys):
    places, assessment = [[901, 899, 905], [0, 0, 0]], Assessment((), ("", "far off"))
    write_points(Landmarks(("a", "b"), places, assessment=assessment), side.points)
    landmarks, _ = read_side(side)
    assert landmarks.trusted.tolist() == [True, False]
    assert "points.json: not trusted: b" in capsys.readouterr().out
