from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk3d.io.nifti import read_nifti
from lmk3d.io.nifti_forms import Forms

SEEDS = st.integers(0, 2**32 - 1)
SHAPE = (7, 6, 5)
STRAIGHT = np.diag([-0.5, 0.5, 2.0, 1.0])


def header(sform=STRAIGHT, qform=STRAIGHT, codes=(1, 1), **fields):
    """A header with both forms and any codes."""
    made = nibabel.Nifti1Header()
    made.set_data_dtype(np.uint8)
    made.set_data_shape(SHAPE)
    made.set_qform(qform, code=1)
    made.set_sform(sform, code=1)
    made["sform_code"], made["qform_code"] = codes
    for name, value in fields.items():
        made[name] = value
    return made


def moved(affine, *step):
    """The affine of the same voxels elsewhere."""
    return np.block([[np.eye(3), np.reshape(step, (3, 1))], [np.zeros(3), 1]]) @ affine


def save(path, made):
    path.write_bytes(made.binaryblock + bytes(4) + bytes(int(np.prod(SHAPE))))
    return path


@given(SEEDS, st.integers(0, 4), st.integers(0, 4), st.sampled_from(["turned", "sheared", "stretched"]))
@settings(max_examples=120, deadline=None)
def test_simpleitk_takes_the_form_that_we_say(tmp_path_factory, random_grid, itk_points, seed, sform, qform, kind):
    rng = np.random.default_rng(seed)
    forms = [random_grid(rng).affine, random_grid(rng).affine]
    matrix = np.array(forms[0]) @ np.diag([*rng.choice([-1, 1], 3), 1])
    if kind == "stretched":
        matrix[:3, 1] *= 1.5
    if kind == "sheared":
        matrix[:3, 2] += 0.2 * matrix[:3, 1]
    steps = np.linalg.norm(forms[0][:3, :3], axis=0)
    qaffine = np.array(forms[1])
    qaffine[:3, :3] *= steps / np.linalg.norm(qaffine[:3, :3], axis=0)
    made = header(matrix, qaffine, (sform, qform), magic=b"n+1", vox_offset=352, xyzt_units=int(rng.integers(0, 4)))
    taken, affine = Forms(made, SHAPE)._itk()
    path = save(tmp_path_factory.mktemp("forms") / "a.nii", made)
    if np.isnan(affine).any():
        assert (taken, kind) == ("sform", "sheared")
        with pytest.raises(RuntimeError):
            itk_points(path, [[0, 0, 0]])
    else:
        corners = np.array([[0, 0, 0], [6, 0, 0], [0, 5, 0], [0, 0, 4]])
        found = itk_points(path, corners)
        scale = np.abs(affine).max()
        np.testing.assert_allclose(corners @ affine[:3, :3].T + affine[:3, 3], found, atol=2e-6 * scale)


def test_forms_that_agree_need_no_word():
    assert Forms(header(), SHAPE).notes() == ()
    assert Forms(header(codes=(0, 1)), SHAPE).notes() == ()
    assert Forms(header(codes=(2, 0)), SHAPE).notes() == ()
    assert Forms(header(moved(STRAIGHT, 0.04, 0, 0), codes=(2, 1)), SHAPE).notes() == ()


@pytest.mark.parametrize(("code", "slicer"), [(1, "it, too"), (2, "the qform"), (4, "the qform")])
def test_forms_that_disagree_are_named_with_their_distance(code, slicer):
    # 30 and 40 mm apart everywhere: 50 mm.
    (note,) = Forms(header(moved(STRAIGHT, 30, -40, 0), codes=(code, 1)), SHAPE).notes()
    assert note.startswith(f"sform (code {code}) and qform (code 1) disagree by up to 50 mm; the sform is used, ")
    assert note.endswith(f"3D Slicer (ITK 5) takes {slicer}")


def test_distance_is_the_largest_over_the_corners():
    # The last plane lies at 4 * 2 = 8 mm by one and at -8 mm by the other form.
    mirrored = STRAIGHT @ np.diag([1, 1, -1, 1])
    (note,) = Forms(header(mirrored, codes=(2, 1)), SHAPE).notes()
    assert "disagree by up to 16 mm" in note


def test_image_without_orientation_is_named_with_the_distance():
    # L, A, S about the middle begins at (1.5, -1.25, -4); ITK begins at 0 and runs to L, P, S.
    made = header(codes=(0, 0))
    (note,) = Forms(made, SHAPE).notes()
    # The farthest corner is that of the last row: there they lie 1.5, 3.75 and 4 mm apart.
    assert note == (
        "its header gives no orientation (sform and qform code 0): the axes are taken as L, A, S with the middle at "
        f"the origin, up to {np.linalg.norm([1.5, 3.75, 4]):.4g} mm from where 3D Slicer (ITK 5) puts them"
    )


def test_sheared_sform_and_other_voxel_sizes_are_named():
    sheared = np.array(STRAIGHT)
    sheared[0, 1] = 0.1
    assert Forms(header(sheared, codes=(1, 0)), SHAPE).notes() == (
        "its sform is sheared; 3D Slicer (ITK 5) refuses the file",
    )
    (note,) = Forms(
        header(STRAIGHT @ np.diag([2, 1, 1, 1]), codes=(2, 0), pixdim=[1, 0.5, 0.5, 2, 0, 0, 0, 0]), SHAPE
    ).notes()
    assert note.startswith("the voxel sizes of its sform and of pixdim disagree; the sform is used")
    assert note.endswith("takes pixdim, up to 3 mm away")  # 6 steps of 1 instead of 0.5 mm


def test_quaternion_that_is_no_rotation_is_not_finite():
    forms = Forms(header(codes=(2, 1), quatern_b=2.0), SHAPE)
    assert "disagree by up to nan mm" in forms.notes()[0]
    assert np.isnan(Forms(header(codes=(0, 1), quatern_b=2.0), SHAPE).affine()).all()


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (3 + 8, 0.001), (5, 1)])
def test_units_are_those_of_itk(tmp_path, itk_points, unit, factor):
    made = header(moved(STRAIGHT, 3, 4, 5), moved(STRAIGHT, 3, 4, 5), magic=b"n+1", vox_offset=352, xyzt_units=unit)
    path = save(tmp_path / "a.nii", made)
    grid = read_nifti(path).grid
    np.testing.assert_allclose(grid.spacing_mm, np.multiply([0.5, 0.5, 2], factor), rtol=1e-7)
    np.testing.assert_allclose(grid.to_mm([0, 0, 0]), np.multiply([3, 4, 5], factor), rtol=1e-7)
    np.testing.assert_allclose(grid.to_mm([[6, 5, 4]]), itk_points(path, [[6, 5, 4]]), rtol=1e-6)


@pytest.mark.parametrize("first", [0.0, 1.0, 0.5, 7.0, np.nan, -1.0, -3.0])
def test_sign_of_pixdim_counts_and_zero_is_one(tmp_path, itk_points, first):
    turned = np.diag([-0.5, 0.5, -2.0, 1.0])
    made = header(qform=turned, codes=(0, 1), magic=b"n+1", vox_offset=352)
    made["pixdim"][0] = first
    path = save(tmp_path / "a.nii", made)
    # Turned about y, the third axis runs down, and up where the image is mirrored.
    expected = [-0.5, 0.5, 2.0 if first < 0 else -2.0]
    np.testing.assert_allclose(read_nifti(path).grid.to_mm([1, 1, 1]), expected, rtol=1e-6)
    np.testing.assert_allclose(itk_points(path, [[1, 1, 1]]), [expected], rtol=1e-6)


def test_form_is_called_by_its_code():
    assert Forms(header(codes=(4, 1)), SHAPE).name() == "sform (code 4)"
    assert Forms(header(codes=(0, 2)), SHAPE).name() == "qform (code 2)"
    assert Forms(header(codes=(-3, 0)), SHAPE).name() == "none (both codes are 0)"
