"""Registration of files: what is written, and what is refused before anything is."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.apps.register_files import register_files
from lmk3d.apps.registration import RegisterOptions
from lmk3d.apps.sides import Side
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import read_image, read_points, write_image, write_points
from lmk3d.landmarks import Assessment, Landmarks

pytest.importorskip("SimpleITK")
NAMES = tuple("abcdef")
SHIFT = np.array([4.0, -6, 2])


@pytest.fixture
def sides(tmp_path):
    """Two volumes that differ by a shift, with their points."""
    generator = np.random.default_rng(0)
    points = generator.uniform(-15, 15, size=(6, 3))
    data = generator.integers(-500, 500, (24, 22, 20)).astype(np.int16)
    grids = [Grid.around(-SHIFT, data.shape, 2.0), Grid.around((0, 0, 0), data.shape, 2.0)]
    made = []
    for name, grid, own in zip(("moving", "fixed"), grids, (points - SHIFT, points), strict=True):
        write_image(Volume(data, grid), tmp_path / f"{name}.nrrd")
        write_points(Landmarks(NAMES, own), tmp_path / f"{name}.json")
        made.append(Side(tmp_path / f"{name}.json", tmp_path / f"{name}.nrrd"))
    return made


def test_everything_is_written_and_right(sides, tmp_path):
    registration, written = register_files(*sides, tmp_path / "out")
    names = ["transform.tfm", "registration.json", "pairs.csv", "moved.mrk.json", "points.png", "moved.nii.gz"]
    assert [path.name for path in written] == [*names, "checkerboard.png"]
    assert all(path.stat().st_size for path in written)
    assert_allclose(registration.transform.affine[:3, 3], SHIFT, atol=1e-9)
    moved, fixed = read_image(tmp_path / "out" / "moved.nii.gz"), read_image(sides[1].image)
    np.testing.assert_array_equal(moved.data, fixed.data)
    assert_allclose(read_points(tmp_path / "out" / "moved.mrk.json")["a"], read_points(sides[1].points)["a"], atol=1e-6)
    content = json.loads((tmp_path / "out" / "registration.json").read_text(encoding="utf-8"))
    assert content["moving"] == str(sides[0].points)
    assert (tmp_path / "out" / "pairs.csv").read_text(encoding="utf-8").startswith("landmark,weight,residual_mm,leave")


def test_points_alone_and_a_spline_give_a_field(sides, tmp_path):
    alone = [Side(side.points) for side in sides]
    fixed = read_points(alone[1].points)
    bent = Landmarks(NAMES, fixed.points_mm + np.random.default_rng(1).normal(size=(6, 3)))
    write_points(bent, alone[1].points)
    _, written = register_files(*alone, tmp_path / "out", options=RegisterOptions("tps"))
    assert [path.name for path in written] == ["transform.h5", "registration.json", "pairs.csv", "moved.mrk.json",
                                               "points.png"]  # fmt: skip
    with pytest.raises(InputError, match=r"transform\.h5: exists already; choose another place, or --overwrite"):
        register_files(*alone, tmp_path / "out", options=RegisterOptions("tps"))
    register_files(*alone, tmp_path / "out", options=RegisterOptions("tps"), overwrite=True)


def test_nothing_is_written_where_nothing_is_asked(sides, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert register_files(*sides)[1] == []
    assert sorted(tmp_path.rglob("*")) == before


def test_refusals_name_the_files_and_leave_no_folder(sides, tmp_path):
    points = read_points(sides[0].points)
    write_points(Landmarks(NAMES, points.points_mm * [-1, 1, 1]), sides[0].points)
    with pytest.raises(InputError, match=r"moving\.json onto .*fixed\.json: the fixed points look like a mirror image"):
        register_files(Side(sides[0].points), sides[1], tmp_path / "out")
    with pytest.raises(InputError, match="refinement compares images; give both, with --moving-image"):
        register_files(Side(sides[0].points), sides[1], refine=True)
    assert not (tmp_path / "out").exists()


def test_pixels_and_millimetres_do_not_mix(sides, tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 50)).astype(np.uint8)).save(tmp_path / "film.png")
    flat = Landmarks(NAMES, np.random.default_rng(4).uniform(-15, 0, size=(6, 3)) * [1, 1, 0])
    write_points(flat, tmp_path / "film.json")
    film = Side(tmp_path / "film.json", tmp_path / "film.png")
    with pytest.raises(InputError, match=r"film\.json: is in mm, its image .*film\.png in px; give the film's spacing"):
        register_files(film, film)
    spaced = Side(film.points, film.image, spacing_mm=0.5)
    assert register_files(spaced, spaced)[0].rms_mm < 1e-9
    with pytest.raises(InputError, match="the moving side is a film and the other one a volume"):
        register_files(spaced, sides[1])


def test_a_spline_that_folds_leaves_nothing(tmp_path):
    start = np.array([[0.0, 0, 0], [30, 0, 0], [0, 30, 0], [30, 30, 0], [14, 15, 0], [16, 15, 0]])
    end = start.copy()
    end[4:, 0] = [24, 6]
    for name, points in (("moving", start), ("fixed", end)):
        write_points(Landmarks(NAMES, points), tmp_path / f"{name}.json")
    with pytest.raises(InputError, match="the spline folds the image over itself"):
        register_files(*(Side(tmp_path / f"{name}.json") for name in ("moving", "fixed")), tmp_path / "out",
                       options=RegisterOptions("tps"))  # fmt: skip
    assert not list((tmp_path / "out").iterdir())


def test_points_that_are_not_trusted_take_no_part(sides):
    points = read_points(sides[0].points)
    moved = points.points_mm.copy()
    moved[0] += 50.0
    doubts = ("far off", *[""] * 5)
    write_points(Landmarks(points.names, moved, assessment=Assessment((), doubts)), sides[0].points)
    registration, _ = register_files(*sides)
    assert_allclose(registration.transform.affine[:3, 3], SHIFT, atol=1e-6)
    assert len(registration.pairs) == 5
    assert "a" in dict(registration.alone)
