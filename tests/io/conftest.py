"""Grids, volumes and points at random, and the folder of real files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume, random_rotation
from lmk3d.landmarks import Landmarks

if TYPE_CHECKING:
    from collections.abc import Callable

LPS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="session")
def make_link() -> Callable[..., None]:
    """Makes symbolic links; on Windows only some users may, so that the test is skipped there and nowhere else."""

    def make(place: Path, target: Path) -> None:
        try:
            place.symlink_to(target, target_is_directory=target.is_dir())
        except OSError:
            if os.name != "nt":
                raise
            pytest.skip("Windows lets this user make no links")

    return make


@pytest.fixture(scope="session")
def make_pipe() -> Callable[[Path], None]:
    """Makes a pipe to which nobody writes, so that whoever opens it waits for ever; there are none on Windows."""

    def make(place: Path) -> None:
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes on this system")
        os.mkfifo(place)

    return make


@pytest.fixture(scope="session")
def random_grid() -> Callable[..., Grid]:
    """Makes grids: oblique or not, flipped, anisotropic, non-cubic, with a far origin of any sign."""

    def make(rng: np.random.Generator, *, sheared: bool = False) -> Grid:
        axes = random_rotation(rng) if rng.random() < 0.7 else np.eye(3)[rng.permutation(3)]
        affine = np.eye(4)
        affine[:3, :3] = axes * rng.choice([-1, 1], 3) * rng.uniform(0.05, 6.0, 3)
        affine[:3, 3] = rng.uniform(-900, 900, 3)
        if sheared:
            affine[:3, 2] += affine[:3, 1] * rng.uniform(0.1, 0.5)
        return Grid(tuple(rng.integers((1, 2, 1), 7)), affine)

    return make


@pytest.fixture(scope="session")
def random_volume(random_grid: Callable[..., Grid]) -> Callable[..., Volume]:
    """Makes small volumes of a given type on random grids."""

    def make(rng: np.random.Generator, dtype: Any = np.int16, *, sheared: bool = False) -> Volume:
        grid = random_grid(rng, sheared=sheared)
        data = rng.normal(0, 30, grid.shape) if np.dtype(dtype).kind == "f" else rng.integers(0, 120, grid.shape)
        return Volume(data.astype(dtype), grid)

    return make


@pytest.fixture(scope="session")
def random_landmarks() -> Callable[..., Landmarks]:
    """Makes points with missing ones, repeated names, and measures that are partly unknown."""

    def make(rng: np.random.Generator, names: list[str], unit: str = "mm") -> Landmarks:
        count = len(names)
        points = rng.normal(0, 10.0 ** rng.integers(-3, 4), (count, 3))
        points[rng.random(count) < 0.3] = np.nan
        measures = []
        for values in (rng.random(count), rng.exponential(2.0, count)):
            values[rng.random(count) < 0.3] = np.nan
            measures.append(None if rng.random() < 0.3 or np.isnan(values).all() else values)
        return Landmarks(tuple(names), points, *measures, unit=unit)

    return make


@pytest.fixture(scope="session")
def itk_points() -> Callable[..., np.ndarray]:
    """Where SimpleITK puts voxels, in RAS: the independent opinion on every affine."""
    sitk = pytest.importorskip("SimpleITK")

    def points(path: Path, points_vox: np.ndarray) -> np.ndarray:
        image = sitk.ReadImage(str(path))
        found = [image.TransformContinuousIndexToPhysicalPoint([float(x) for x in point]) for point in points_vox]
        return np.array(found) * LPS

    return points


@pytest.fixture(scope="session")
def real_files() -> Path:
    """The folder of real files, where there is one."""
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("LMK3D_DATA") or root.parent / "shared" / "data") / "io"
    if not folder.is_dir():
        pytest.skip("no real files here; LMK3D_DATA names their folder")
    return folder


@pytest.fixture
def same() -> Callable[..., None]:
    """Asserts that two sets of points are equal in everything, bit by bit."""

    def check(found: Landmarks, expected: Landmarks) -> None:
        assert found.names == expected.names
        assert found.unit == expected.unit
        np.testing.assert_array_equal(found.points_mm, expected.points_mm)
        for measure in ("confidence", "error_mm"):
            left, right = getattr(found, measure), getattr(expected, measure)
            assert (left is None) == (right is None)
            if left is not None:
                np.testing.assert_array_equal(left, right)

    return check


def dicom_file(path: Path, fields: dict[str, Any]) -> Path:
    """Save a CT image of these fields; None leaves one out."""
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = fields["SOPInstanceUID"]
    for name, value in fields.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


PIXELS = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 0,
}


@pytest.fixture(scope="session")
def write_slice() -> Callable[..., Path]:
    """Writes one slice of 4 rows and 5 columns; any field can be given or left out (None)."""
    from pydicom.uid import generate_uid

    def write(path: Path, *, z: float = 0.0, pixels: Any = None, **fields: Any) -> Path:
        pixels = np.zeros((4, 5)) if pixels is None else pixels
        common = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "SOPInstanceUID": generate_uid(),
            "SeriesInstanceUID": "1.2.3",
            "Modality": "CT",
            "Rows": 4,
            "Columns": 5,
            "ImagePositionPatient": [-10, -20, z],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [1, 1],
            "SliceThickness": 2,
            "PixelData": np.asarray(pixels).astype("<u2").tobytes(),
        }
        return dicom_file(path, common | PIXELS | fields)

    return write


@pytest.fixture(scope="session")
def write_frames() -> Callable[..., Path]:
    """Writes one file with a frame at each of ``places`` along z, of value 0, 1, 2 ... and scale 2 x - 7.

    ``own`` gives fields of each frame's FrameContentSequence.
    """
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    def group(name: str, **fields: Any) -> dict[str, Any]:
        item = Dataset()
        for field, value in fields.items():
            setattr(item, field, value)
        return {name: [item]}

    def item_of(**groups: Any) -> Any:
        item = Dataset()
        for name, value in groups.items():
            setattr(item, name, value)
        return item

    def write(path: Path, places: list[float], *, own: list[dict[str, Any]] | None = None, **changed: Any) -> Path:
        shared = item_of(
            **group("PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
            **group("PixelMeasuresSequence", PixelSpacing=[0.5, 0.25], SliceThickness=1.5),
            **group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-7, RescaleType="US"),
        )
        positions = [group("PlanePositionSequence", ImagePositionPatient=[0, 0, z]) for z in places]
        contents = [group("FrameContentSequence", **content) for content in own or [{} for _ in places]]
        items = [item_of(**one, **two) for one, two in zip(positions, contents, strict=True)]
        pixels = np.repeat(np.arange(len(places), dtype="<u2"), 20)
        fields = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1",
            "SOPInstanceUID": generate_uid(),
            "SeriesInstanceUID": "1.2.3",
            "Rows": 4,
            "Columns": 5,
            "NumberOfFrames": len(places),
            "SharedFunctionalGroupsSequence": [shared],
            "PerFrameFunctionalGroupsSequence": items,
            "PixelData": pixels.tobytes(),
        }
        return dicom_file(path, fields | PIXELS | changed)

    return write
