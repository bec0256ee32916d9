"""Small valid inputs of every kind that lmk3d reads, and how each is read; ``tools/fuzz.py`` damages them."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Landmarks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Specimen", "make_specimens"]

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("apex", "left ostium")


@dataclass(frozen=True)
class Specimen:
    """One kind of input.

    Args:
        kind: its name.
        folder: holds its files and nothing else.
        damaged: names of the files in it that are to be damaged.
        read: reads it, given the folder.
    """

    kind: str
    folder: Path
    damaged: tuple[str, ...]
    read: Callable[[Path], Any]


def make_specimens(root: Path) -> list[Specimen]:
    """Write one specimen of each kind below ``root``, and read each once: a valid one must not be refused."""
    made = [
        specimen
        for maker in (_images, _radiographs, _dicom, _points, _datasets, _transforms, _bundles)
        for specimen in maker(root)
    ]
    for specimen in made:
        specimen.read(specimen.folder)
    return made


def _folder(root: Path, kind: str) -> Path:
    folder = root / kind
    folder.mkdir(parents=True)
    return folder


def _volume() -> Volume:
    rng = np.random.default_rng(0)
    affine = np.array([[-0.5, 0, 0.1, 12], [0, 0.6, 0, -3], [0.05, 0, 2, 40], [0, 0, 0, 1.0]])
    return Volume(rng.integers(-50, 900, (6, 5, 4)).astype(np.int16), Grid((6, 5, 4), affine))


def _read(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from lmk3d.io import read_image

        return read_image(folder / name).data.sum()

    return read


def _images(root: Path) -> list[Specimen]:
    import SimpleITK as sitk

    from lmk3d.io import write_image

    made = []
    for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha"):
        folder = _folder(root, f"image {name}")
        write_image(_volume(), folder / name)
        made.append(Specimen(folder.name, folder, (name,), _read(name)))
    image = sitk.GetImageFromArray(_volume().data.T)
    for name, beside in (("a.mhd", "a.raw"), ("a.nhdr", "a.raw"), ("a.hdr", "a.img")):
        folder = _folder(root, f"image {name}")
        sitk.WriteImage(image, str(folder / name), useCompression=False)
        made.append(Specimen(folder.name, folder, (name, name, beside), _read(name)))
    return made


def _radiographs(root: Path) -> list[Specimen]:
    from PIL import Image

    grey = Image.fromarray(np.random.default_rng(1).integers(0, 255, (12, 9)).astype(np.uint8))
    made = []
    for name in ("a.png", "a.jpg", "a.tif", "a.bmp"):
        folder = _folder(root, f"radiograph {name}")
        grey.save(folder / name, dpi=(300, 300))
        made.append(Specimen(folder.name, folder, (name,), _read(name)))
    return made


def _dicom(root: Path) -> list[Specimen]:
    def find(folder: Path) -> None:
        from lmk3d.io import find_images
        from lmk3d.io.patients import patient_of

        for path in find_images([folder]):
            str(patient_of(path))

    series = _folder(root, "dicom series")
    for number in range(4):
        _slice(series / f"{number}.dcm", number)
    listed = _folder(root, "dicom found")
    shutil.copytree(series, listed, dirs_exist_ok=True)
    radiograph, frames, packed = (_folder(root, f"dicom {kind}") for kind in ("radiograph", "frames", "zip"))
    _slice(radiograph / "a.dcm", 0, ImagePositionPatient=None, ImagerPixelSpacing=[0.15, 0.15], Modality="DX")
    _enhanced(frames / "a.dcm")
    with zipfile.ZipFile(packed / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(series.iterdir()):
            archive.write(path, path.name)
    names = ("0.dcm", "2.dcm")
    return [
        Specimen(series.name, series, names, _read("")),
        Specimen(listed.name, listed, names, find),
        Specimen(radiograph.name, radiograph, ("a.dcm",), _read("a.dcm")),
        Specimen(frames.name, frames, ("a.dcm",), _read("a.dcm")),
        Specimen(packed.name, packed, ("a.zip",), _read("a.zip")),
    ]


def _dataset(uid: str, **fields: Any) -> Any:
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": uid,
        "SeriesInstanceUID": "1.2.3",
        "PatientName": "Doe^Jo",
        "PatientID": "7",
        "Modality": "CT",
        "Rows": 5,
        "Columns": 6,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        **fields,
    }
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    return dataset


def _slice(path: Path, number: int, **fields: Any) -> None:
    place = {
        "ImagePositionPatient": [1.0, 2.0, 2.5 * number],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.5],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": np.random.default_rng(number).integers(0, 2000, 30).astype("<u2").tobytes(),
    }
    _dataset(f"1.2.3.{number + 1}", **{**place, **fields}).save_as(path, enforce_file_format=True)


def _enhanced(path: Path) -> None:
    import pydicom

    def item(**fields: Any) -> Any:
        made = pydicom.Dataset()
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    own = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 2.0 * number])]) for number in range(4)]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.5])],
    )
    pixels = np.random.default_rng(3).integers(0, 2000, 120).astype("<u2").tobytes()
    fields = {"NumberOfFrames": 4, "SharedFunctionalGroupsSequence": [shared]}
    fields |= {"PerFrameFunctionalGroupsSequence": own, "PixelData": pixels}
    _dataset("1.2.9", **fields).save_as(path, enforce_file_format=True)


def _landmarks() -> Landmarks:
    return Landmarks(NAMES, np.array([[1.5, -2.0, 30.0], [np.nan] * 3]), np.array([0.9, 0.1]), np.array([0.5, np.nan]))


def _points(root: Path) -> list[Specimen]:
    from lmk3d.io import write_points

    def read_of(name: str) -> Callable[[Path], Any]:
        def read(folder: Path) -> Any:
            from lmk3d.io import read_points

            return read_points(folder / name).points_mm.sum()

        return read

    made = []
    for name in ("a.mrk.json", "a.fcsv", "a.csv", "a.json"):
        folder = _folder(root, f"points {name}")
        write_points(_landmarks(), folder / name)
        made.append(Specimen(folder.name, folder, (name,), read_of(name)))
    return made


def _datasets(root: Path) -> list[Specimen]:
    from lmk3d.io import write_image, write_points

    def check(folder: Path) -> Any:
        from lmk3d.io import check_dataset

        return "\n".join(check_dataset(folder / "dataset.json").problems)

    def measure(folder: Path) -> Any:
        from lmk3d.apps.plan import read_plan

        return read_plan(folder / "plan.json")

    folder = _folder(root, "dataset")
    for number in range(3):
        write_image(_volume(), folder / f"{number}.nii")
        write_points(_landmarks(), folder / f"{number}.mrk.json")
    cases = [{"image": f"{number}.nii", "points": f"{number}.mrk.json"} for number in range(3)]
    content = {"name": "hearts", "landmarks": list(NAMES), "pairs": [], "training": cases[:2], "validation": cases[2:]}
    (folder / "dataset.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    plan = _folder(root, "measures")
    steps = {"points": {"middle": {"mean": list(NAMES)}}, "measures": {"length": {"distance": [NAMES[0], "middle"]}}}
    (plan / "plan.json").write_text(json.dumps({"name": "hearts", "unit": "mm", **steps}, indent=1), encoding="utf-8")
    return [
        Specimen(folder.name, folder, ("dataset.json", "dataset.json", "0.mrk.json", "0.nii"), check),
        Specimen(plan.name, plan, ("plan.json",), measure),
    ]


def _transforms(root: Path) -> list[Specimen]:
    from lmk3d.io.transforms import write_transform
    from lmk3d.warps import Transform

    def read_of(name: str) -> Callable[[Path], Any]:
        def read(folder: Path) -> Any:
            from lmk3d.io.transforms import read_transform

            return read_transform(folder / name).affine

        return read

    affine = np.array([[0.9, 0.1, 0, 5], [-0.1, 0.9, 0, -7], [0, 0, 1.1, 2], [0, 0, 0, 1.0]])
    made = []
    for name in ("a.tfm", "a.h5"):
        folder = _folder(root, f"transform {name}")
        write_transform(Transform.linear(affine), folder / name)
        made.append(Specimen(folder.name, folder, (name,), read_of(name)))
    return made


def _bundles(root: Path) -> list[Specimen]:
    import torch

    from lmk3d.components import build

    def load(folder: Path) -> Any:
        from lmk3d.inference import LandmarkDetector

        return LandmarkDetector.from_bundle(folder).names

    def verify(folder: Path) -> Any:
        from lmk3d.zoo import verify_bundle

        return "\n".join(verify_bundle(folder))

    folder = _folder(root, "bundle")
    (folder / "models").mkdir()
    config = _tiny(json.loads((ROOT / "bundles" / "cascade" / "inference.json").read_text(encoding="utf-8")))
    (folder / "inference.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    shutil.copy(ROOT / "bundles" / "cascade" / "metadata.json", folder)
    network = build(config, "network_def", folder / "inference.json")
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    zoo = _folder(root, "bundle verified")
    (zoo / "configs").mkdir()
    shutil.copytree(folder / "models", zoo / "models")
    for name in ("inference.json", "metadata.json"):
        shutil.copy(folder / name, zoo / "configs")
    return [
        Specimen(folder.name, folder, ("inference.json", "inference.json", "metadata.json", "models/model.pt"), load),
        Specimen(zoo.name, zoo, ("configs/inference.json", "configs/metadata.json", "models/model.pt"), verify),
    ]


def _tiny(config: dict[str, Any]) -> dict[str, Any]:
    """The shipped cascade's configuration for two landmarks and a network of a few thousand weights."""
    config = copy.deepcopy(config)
    config["names"] = config["names"][:2]
    network = config["network_def"]
    network["num_landmarks"] = network["heatmap"]["num_outputs"] = 2
    network["heatmap"]["channels"] = [2, 4]
    for refiner in network["refiners"]:
        refiner |= {"num_landmarks": 2, "channels": [2, 4, 4]}
    for level in config["levels"]:
        level["share"] = level["share"][:2]
    return config
