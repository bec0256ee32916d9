"""Transforms' files, as ITK reads them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.errors import InputError
from lmk3d.fits import fit_transform
from lmk3d.geometry import Grid, random_rotation
from lmk3d.io.transforms import read_transform, write_transform
from lmk3d.warps import Transform

LPS = np.array([-1.0, -1, 1])


def linear():
    affine = np.eye(4)
    affine[:3, :3] = random_rotation(np.random.default_rng(0)) * 1.2
    affine[:3, 3] = [10, -20, 30]
    return Transform.linear(affine)


def bent():
    start = np.random.default_rng(1).uniform(-30, 30, size=(8, 3))
    return fit_transform("tps", start, linear()(start) + np.random.default_rng(2).normal(size=(8, 3)))


@pytest.mark.parametrize("ending", [".tfm", ".h5"])
def test_itk_leads_from_the_fixed_to_the_moving_world_in_lps(tmp_path, ending):
    sitk = pytest.importorskip("SimpleITK")
    transform, place = linear(), np.array([7.0, 8, -9])
    write_transform(transform, tmp_path / f"t{ending}")
    back = sitk.ReadTransform(str(tmp_path / f"t{ending}"))
    assert_allclose(np.array(back.TransformPoint((transform(place) * LPS).tolist())) * LPS, place, atol=1e-9)
    assert_allclose(read_transform(tmp_path / f"t{ending}").affine, transform.affine, atol=1e-9)


def test_a_spline_is_a_field_that_itk_resamples_with(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    transform = bent()
    grid = Grid.around(transform([0, 0, 0]), (80, 70, 60), 1.0, random_rotation(np.random.default_rng(3), 0.3))
    write_transform(transform, tmp_path / "t.h5", grid=grid)
    back = sitk.ReadTransform(str(tmp_path / "t.h5"))
    for vox in np.random.default_rng(4).uniform(1, 58, size=(20, 3)):
        fixed = grid.to_mm(vox)
        theirs = np.array(back.TransformPoint((fixed * LPS).tolist())) * LPS
        assert_allclose(theirs, transform.inverse(fixed), atol=0.1)  # linear between nodes a millimetre apart
    with pytest.raises(InputError, match=r"t\.h5: is not linear in three dimensions"):
        read_transform(tmp_path / "t.h5")


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"t\.mat: is no transform's name; end it in \.tfm or \.h5"):
        write_transform(linear(), tmp_path / "t.mat")
    with pytest.raises(InputError, match=r"t\.tfm: a spline's displacement field is too large for text; write \.h5"):
        write_transform(bent(), tmp_path / "t.tfm")
    with pytest.raises(ValueError, match="a spline is written as a field on a grid; give the fixed image's"):
        write_transform(bent(), tmp_path / "t.h5")
    assert not list(tmp_path.iterdir())


def test_what_is_no_transform_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.tfm: no such file"):
        read_transform(tmp_path / "none.tfm")
    (tmp_path / "a.tfm").write_text("not a transform", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.tfm: is not a transform that ITK can read"):
        read_transform(tmp_path / "a.tfm")


HEAD = "#Insight Transform File V1.0\n#Transform 0\n"
EULER = HEAD + "Transform: Euler3DTransform_double_3_3\nParameters: {}\nFixedParameters: {}\n"
AFFINE = HEAD + "Transform: {}\nParameters: {}\nFixedParameters: 0 0 0\n"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (EULER.format("0.1 0.2 0.3 1 1e308 3", "0 0 0 0"), "leads nowhere or folds space flat"),
        (EULER.format("0.1 0.2 0.3 1 2 3", "99999999999999999999 0 0 0"), "leads nowhere or folds space flat"),
        (EULER.format("a\0b 0.2 0.3 1 2 3", "0 0 0 0"), "is not a transform that ITK can read"),
        (EULER.format("0.1 0.2 0.3 1 2", "0 0 0 0"), "is not a transform that ITK can read"),
        (AFFINE.format("AffineTransform_double_3_3", "0 " * 12), "leads nowhere or folds space flat"),
        (AFFINE.format("AffineTransform_double_3_3", "1 0 0 0 1 0 1 1 0 0 0 0"), "leads nowhere or folds space flat"),
        (AFFINE.format("AffineTransform_double_3_3", "nan 0 0 0 1 0 0 0 1 0 0 0"), "leads nowhere|is not a transform"),
        (
            AFFINE.format("AffineTr\udcc4nsform_double_3_3", "1 0 0 0 1 0 0 0 1 0 0 0"),
            "is not a transform that ITK can read",
        ),
        (EULER.format("0.1 0.2 0.3x 1 2 3", "0 0 0 0"), "is not a transform that ITK can read"),
        (EULER.format("0.1 0.2 1.2.3 1 2 3", "0 0 0 0"), "is not a transform that ITK can read"),
        (
            AFFINE.format("AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 1 1 2 3 4"),
            "is not a transform that ITK can read",
        ),
        (
            2 * AFFINE.format("AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 1 1 2 3"),
            "is not a transform that ITK can read",
        ),
        (
            AFFINE.format("AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 1 1 2 3")[:-23],
            "is not a transform that ITK can",
        ),
        (HEAD, "is not a transform that ITK can read"),
    ],
)
def test_damaged_text_is_named_and_kills_nobody(tmp_path, content, match):
    (tmp_path / "t.tfm").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=rf"t\.tfm: .*({match})"):
        read_transform(tmp_path / "t.tfm")


@pytest.mark.parametrize("ending", [".tfm", ".h5"])
def test_every_kind_of_linear_transform_is_read(tmp_path, ending):
    sitk = pytest.importorskip("SimpleITK")
    euler = sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6))
    kinds = [
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.TranslationTransform(3, (1.0, 2.0, 3.0)),
        sitk.ScaleTransform(3, (1.1, 1.2, 0.9)),
        sitk.VersorTransform((0, 0, 1), 0.3),
        sitk.VersorRigid3DTransform((0, 0, 1), 0.3, (1, 2, 3)),
        sitk.Similarity3DTransform(1.2, (0, 0, 1), 0.3, (1, 2, 3)),
        sitk.ScaleVersor3DTransform((1.1, 1.2, 0.9), (0, 0, 1), 0.3, (1, 2, 3)),
        sitk.ScaleSkewVersor3DTransform(),
        euler,
        sitk.CompositeTransform([euler, sitk.TranslationTransform(3, (1.0, 2.0, 3.0))]),
    ]
    place = np.array([7.0, 8, -9])
    for number, kind in enumerate(kinds):
        path = tmp_path / f"{number}{ending}"
        sitk.WriteTransform(kind, str(path))
        moving = np.array(kind.TransformPoint((place * LPS).tolist())) * LPS
        assert_allclose(read_transform(path)(moving), place, atol=1e-9)


@pytest.mark.parametrize("ending", [".mat", ".xfm", ".hdf5", ""])
def test_other_endings_are_refused_before_itk_guesses(tmp_path, ending):
    (tmp_path / f"t{ending}").write_text(AFFINE, encoding="utf-8")
    with pytest.raises(InputError, match=rf"t{ending}: is no transform's name; save it .* as \.tfm or \.h5"):
        read_transform(tmp_path / f"t{ending}")


@pytest.mark.parametrize("ending", [".txt", ".tfm"])
def test_text_under_either_name_is_checked_as_strictly(tmp_path, ending):
    path, whole = tmp_path / f"t{ending}", AFFINE.format("AffineTransform_double_3_3", "1 0 0 0 1 0 0 0 1 1 2 3")
    path.write_text(whole, encoding="utf-8")
    assert_allclose(read_transform(path)([0, 0, 0]), [1, 2, -3])
    path.write_text(2 * whole, encoding="utf-8")
    with pytest.raises(InputError, match=rf"t{ending}: is not a transform that ITK can read"):
        read_transform(path)


def test_matrix_under_its_general_name_is_read(tmp_path):
    content = AFFINE.format("MatrixOffsetTransformBase_double_3_3", "1 0 0 0 1 0 0 0 1 1 2 3")
    (tmp_path / "t.tfm").write_text(content, encoding="utf-8")
    assert_allclose(read_transform(tmp_path / "t.tfm")([0, 0, 0]), [1, 2, -3])


def test_damaged_hdf5_is_named_and_kills_nobody(tmp_path):
    write_transform(linear(), tmp_path / "t.h5")
    whole = (tmp_path / "t.h5").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:2000], b""):
        (tmp_path / "t.h5").write_bytes(content)
        with pytest.raises(InputError, match=r"t\.h5: is not a transform that ITK can read"):
            read_transform(tmp_path / "t.h5")


def test_reader_that_does_not_end_is_stopped(tmp_path, monkeypatch):
    write_transform(linear(), tmp_path / "t.tfm")
    monkeypatch.setattr("lmk3d.io.transforms._SECONDS", 0.001)
    with pytest.raises(InputError, match=r"t\.tfm: is not a transform that ITK can read"):
        read_transform(tmp_path / "t.tfm")


def test_transform_of_a_plane_is_refused(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteTransform(sitk.TranslationTransform(2, (1.0, 2.0)), str(tmp_path / "t.tfm"))
    with pytest.raises(InputError, match=r"t\.tfm: is not linear in three dimensions"):
        read_transform(tmp_path / "t.tfm")
