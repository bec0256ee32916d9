"""What several test files share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume, random_rotation
from lmk3d.landmarks import Assessment, Landmarks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class FakeDetector:
    """Stands in for ``LandmarkDetector``: the brightest voxel, a point beside it, and one that is always missing.

    Without torch a test of the shell takes milliseconds.
    """

    names = ("brightest", "beside", "absent")
    version = "1.2.3"
    notes: tuple[str, ...] = ()
    device = "cpu"
    assessment: Assessment | None = None
    coverage: float | None = None

    @classmethod
    def from_bundle(cls, folder: Path, *, device: str = "cpu") -> FakeDetector:
        if not (folder / "models" / "model.pt").is_file():
            raise InputError(f"{folder}: holds no models/model.pt; is it a bundle?")
        return cls()

    def detect(self, volume: Volume) -> Landmarks:
        if volume.data.min() == volume.data.max():
            raise InputError("the image is constant; is it the right file?")
        peak = volume.grid.to_mm(np.unravel_index(volume.data.argmax(), volume.data.shape))
        return Landmarks(
            self.names,
            [peak, peak + np.array([1.0, 0.0, 0.0]), [np.nan] * 3],
            confidence=[0.9, 0.6, 0.1],
            error_mm=[0.5, 2.0, np.nan],
            unit=volume.unit,
            assessment=self.assessment,
            coverage=self.coverage,
        )


@pytest.fixture
def fake_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a bundle that ``FakeDetector`` "loads"; it is also what the name "cascade" means."""
    folder = tmp_path / "bundles" / "fake"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "model.pt").write_bytes(b"weights")

    def default_bundle(name: str = "cascade") -> Path:
        if name != "cascade":
            raise InputError(f"no bundle {name!r} (shipped: cascade)")
        return folder

    room = ModuleType("lmk3d.inference")
    room.LandmarkDetector = FakeDetector
    room.default_bundle = default_bundle
    monkeypatch.setitem(sys.modules, "lmk3d.inference", room)
    monkeypatch.setattr("lmk3d.components.default_bundle", default_bundle)
    return folder


@pytest.fixture(scope="session")
def closure() -> Callable[..., set[str]]:
    """Gives all distributions that setup.cfg asks for, with some extras, and those that these ask for in turn."""
    from configparser import ConfigParser
    from importlib.metadata import PackageNotFoundError, requires

    requirements = pytest.importorskip("packaging.requirements")
    utils = pytest.importorskip("packaging.utils")
    setup = ConfigParser(interpolation=None)
    setup.read(Path(__file__).parent.parent / "setup.cfg", encoding="utf-8")

    def all_of(*extras: str) -> set[str]:
        asked = setup["options"]["install_requires"].splitlines()
        for extra in extras:
            asked += setup["options.extras_require"][extra].splitlines()
        waiting = [requirements.Requirement(line) for line in asked if line.strip() and not line.startswith(("#", "%"))]
        found: dict[str, set[str]] = {}
        while waiting:
            one = waiting.pop()
            name, wanted = utils.canonicalize_name(one.name), {"", *one.extras}
            if wanted <= found.get(name, set()):
                continue
            found[name] = found.get(name, set()) | wanted
            try:
                inner = [requirements.Requirement(line) for line in requires(name) or ()]
            except PackageNotFoundError:
                pytest.skip(f"{name} is not installed here")
            waiting += [
                more
                for more in inner
                if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in wanted)
            ]
        return set(found)

    return all_of


@pytest.fixture
def bright_volume() -> Volume:
    """6 x 5 x 4 voxels of 2 mm whose voxel (1, 2, 3), at RAS (-8, 24, 36) mm, is the brightest."""
    data = np.zeros((6, 5, 4), np.int16)
    data[1, 2, 3] = 100
    data[0, 0, 0] = -7
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-10, 20, 30]
    return Volume(data, Grid((6, 5, 4), affine))


@pytest.fixture(scope="session")
def write_series() -> Callable[..., Path]:
    """Writes a folder of CT slices of 4 rows and 5 columns, the brightest voxel at LPS (3, 2, 2) mm."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    def write(folder: Path, *, slices: int = 3, **fields: object) -> Path:
        folder.mkdir(parents=True)
        one = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
        common = {"Modality": "CT", "Rows": 4, "Columns": 5, "PixelSpacing": [1, 1], "SliceThickness": 2}
        common |= {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0}
        common |= {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
        common |= {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SpecificCharacterSet": "ISO_IR 100"}
        for place in range(slices):
            pixels = np.arange(20, dtype="<u2").reshape(4, 5)
            pixels[2, 3] = 100 if place == 1 else 7
            header = pydicom.Dataset()
            own = {"SOPInstanceUID": generate_uid(), "ImagePositionPatient": [0, 0, 2 * place]}
            own |= {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "PixelData": pixels.tobytes()}
            for name, value in (common | one | own | fields).items():
                if value is not None:
                    setattr(header, name, value)
            header.file_meta = pydicom.dataset.FileMetaDataset()
            header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            header.save_as(folder / f"{place}.dcm", enforce_file_format=True)
        return folder

    return write


@pytest.fixture(scope="session")
def draw_grid() -> Callable[..., Grid]:
    """Draws a grid as no scanner would refuse to make it: oblique, flipped, anisotropic, far from the origin."""

    def draw(
        generator: np.random.Generator,
        *,
        shape: Sequence[int] | None = None,
        spacing_mm: tuple[float, float] = (0.3, 3.0),
        reach_mm: float = 300.0,
        shear: float = 0.0,
    ) -> Grid:
        axes = random_rotation(generator) * generator.choice([-1.0, 1.0], size=3)
        axes = axes + shear * generator.uniform(-1, 1, size=(3, 3))
        sides = generator.integers(1, 400, size=3) if shape is None else shape
        spacing = np.exp(generator.uniform(*np.log(spacing_mm), size=3))
        return Grid.around(generator.uniform(-reach_mm, reach_mm, size=3), sides, spacing, axes)

    return draw


TINY_NAMES = ("left", "right", "top")


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON of a data set with four training and two validation volumes of 20 x 22 x 18 voxels: blobs at landmarks."""
    from lmk3d.io import write_image, write_points

    folder = tmp_path_factory.mktemp("tiny")
    generator = np.random.default_rng(0)
    shape_mm = np.array([[-9.0, 0, -5], [9.0, 1, -4], [0, 6.0, 9]])
    cases = []
    for number in range(6):
        grid = Grid.around([5.0, -3, 8], (20, 22, 18), 1.5, random_rotation(generator, 0.1))
        points = grid.center_mm + shape_mm + generator.normal(scale=1.0, size=(3, 3))
        steps = grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
        blobs = [np.exp(-((steps - point) ** 2).sum(-1) / 8) for point in points]
        data = 300 * blobs[0] + 450 * blobs[1] + 600 * blobs[2] + generator.normal(scale=10, size=grid.shape)
        write_image(Volume(data.astype(np.int16), grid), folder / f"{number}.nii.gz")
        write_points(Landmarks(TINY_NAMES, points), folder / f"{number}.mrk.json")
        cases.append({"image": f"{number}.nii.gz", "points": f"{number}.mrk.json"})
    content = {"name": "tiny", "landmarks": TINY_NAMES, "pairs": [["left", "right"]]}
    content |= {"training": cases[:4], "validation": cases[4:]}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "dataset.json"
