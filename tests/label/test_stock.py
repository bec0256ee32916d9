"""MONAI's own programs with a bundle of ours: its reader's grid and ours, points and label map, the real server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, decollate_batch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

from lmk3d.components import build, default_bundle, read_config
from lmk3d.configure.shipped import LANDMARKNET
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.inference import LandmarkDetector
from lmk3d.io import read_image, read_points, write_image, write_points
from lmk3d.label.stock import CheckReadingd, LandmarkInferer, LandmarksToLabelMapd, SavePoints, image_list
from lmk3d.landmarks import Assessment, Landmarks
from lmk3d.synthetic import cta_phantom, film_phantom
from lmk3d.zoo import export_bundle

from .conftest import free_port, running

sitk = pytest.importorskip("SimpleITK")


def loaded(path):
    """An image as the preprocessing of a bundle leaves it."""
    loader = LoadImaged("image", reader="ITKReader")
    try:
        return Compose([loader, EnsureChannelFirstd("image"), CheckReadingd()])({"image": str(path)})["image"]
    except RuntimeError as error:  # MONAI's own, round that of the transform
        raise error.__cause__ or error from None


def volume_of(image):
    """What the detector would get of a loaded image."""
    seen = []

    class Spy:
        names = ("a",)

        def detect(self, volume):
            seen.append(volume)
            return Landmarks(("a",), [[1.0, 2.0, 3.0]], unit=volume.unit)

    rows = LandmarkInferer(Spy())(image[None], network=None)
    assert rows.shape == (1, 1, 9)
    return seen[0]


def check_same(path):
    """The detector gets of MONAI's reader what it gets of ours, and the image's own grid has all voxels in it."""
    image, expected = loaded(path), read_image(path)
    volume = volume_of(image)
    np.testing.assert_array_equal(volume.data, expected.data.astype(np.float32))
    np.testing.assert_allclose(volume.grid.affine, expected.grid.affine, atol=1e-4)
    assert volume.unit == expected.unit
    place = np.unravel_index(int(image[0].argmax()), image.shape[1:])
    top = np.unravel_index(expected.data.argmax(), expected.data.shape)
    np.testing.assert_allclose(Grid.of(image).to_mm(place), expected.grid.to_mm(top), atol=1e-3)
    return image


def numbers(shape, *, seed=0, most=30_000):
    """Numbers of which none stands twice."""
    return (
        np.random.default_rng(seed)
        .permutation(np.linspace(0, most, int(np.prod(shape))).astype(np.int16))
        .reshape(shape)
    )


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_volumes_lie_where_ours_do_on_any_grid(draw_grid, tmp_path, ending):
    generator = np.random.default_rng(1)
    for number in range(6):
        grid = draw_grid(generator, shape=generator.integers(2, 9, size=3))
        write_image(Volume(numbers(grid.shape), grid), tmp_path / f"{number}.{ending}")
        check_same(tmp_path / f"{number}.{ending}")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"RescaleSlope": "2", "RescaleIntercept": "-1024"},
        {"ImageOrientationPatient": [0, 0.8, 0.6, 0, -0.6, 0.8]},
        {"SeriesDate": "20200101", "PixelSpacing": [0.5, 0.7]},
    ],
)
def test_a_dicom_series_lies_where_ours_does(write_series, tmp_path, fields):
    turned = "ImageOrientationPatient" in fields
    folder = write_series(tmp_path / "ct", **fields)
    if turned:  # along x, not along the normal: the slices lean
        with pytest.raises(InputError, match=r"slices|elsewhere"):
            loaded(folder)
    else:
        image, expected = loaded(folder), read_image(folder)
        volume = volume_of(image)
        np.testing.assert_allclose(volume.data, expected.data)
        np.testing.assert_allclose(volume.grid.affine, expected.grid.affine, atol=1e-6)


@pytest.mark.parametrize("name", ["film.png", "film.tif", "deep.png"])
def test_radiographs_get_a_depth_of_one_and_keep_their_rows(tmp_path, name):
    data = numbers((7, 5), most=200).astype(np.uint16 if name == "deep.png" else np.uint8)
    Image.fromarray(data).save(tmp_path / name)
    image = check_same(tmp_path / name)
    assert image.shape == (1, 5, 7, 1)  # ITK's columns come first
    assert volume_of(image).unit == "px"
    assert volume_of(image).data.shape == (7, 5, 1)


def test_a_flat_volume_keeps_its_spacing(tmp_path):
    image = sitk.GetImageFromArray(numbers((7, 5)))
    image.SetSpacing((0.3, 0.4))
    sitk.WriteImage(image, str(tmp_path / "film.mha"))
    assert volume_of(check_same(tmp_path / "film.mha")).unit == "mm"


def test_where_the_two_readers_disagree_the_image_is_refused(tmp_path, monkeypatch):
    Image.fromarray(numbers((7, 5), most=200).astype(np.uint8)).save(tmp_path / "film.bmp")
    with pytest.raises(
        InputError, match=r"MONAI's reader gives 3 channels of an image that has one; use lmk3d predict"
    ):
        loaded(tmp_path / "film.bmp")  # a palette of greys, which ITK turns into colours
    grid = Grid((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
    volume = Volume(numbers(grid.shape), grid)
    write_image(volume, tmp_path / "a.nrrd")
    for wrong, text in (
        (Volume(volume.data, Grid(grid.shape, np.diag([1.0, 2.0, 3.1, 1.0]))), "places the voxels elsewhere"),
        (Volume(volume.data, Grid(grid.shape, np.diag([-1.0, 2.0, 3.0, 1.0]))), "places the voxels elsewhere"),
        (Volume(volume.data[:3], Grid((3, 5, 6), grid.affine)), "places the voxels elsewhere"),
        (Volume(volume.data + np.int16(1), grid), "gives other grey values than the file means"),
    ):
        monkeypatch.setattr("lmk3d.label.stock.read_image", lambda path, wrong=wrong: wrong)
        with pytest.raises(InputError, match=text):
            loaded(tmp_path / "a.nrrd")
    with pytest.raises(InputError, match="the image comes from no file"):
        CheckReadingd()({"image": MetaTensor(torch.zeros(1, 2, 2, 2))})


def test_what_a_user_should_know_of_a_file_is_printed(tmp_path, monkeypatch, capsys):
    grid = Grid((4, 5, 6), np.eye(4))
    write_image(Volume(numbers(grid.shape), grid), tmp_path / "a.nrrd")
    noted = Volume(numbers(grid.shape), grid, notes=("its header is doubtful",))
    monkeypatch.setattr("lmk3d.label.stock.read_image", lambda path: noted)
    loaded(tmp_path / "a.nrrd")
    assert "a.nrrd: its header is doubtful" in capsys.readouterr().out


def test_voxels_of_a_microscope_are_held_to_a_tenth_of_theirs(tmp_path, monkeypatch):
    grid = Grid((4, 5, 6), np.diag([0.01, 0.01, 0.01, 1.0]))
    affine = np.array(grid.affine)
    affine[0, 3] = 0.002
    shifted = Volume(numbers(grid.shape), Grid(grid.shape, affine))
    write_image(Volume(numbers(grid.shape), grid), tmp_path / "a.nrrd")
    monkeypatch.setattr("lmk3d.label.stock.read_image", lambda path: shifted)
    with pytest.raises(InputError, match="places the voxels elsewhere"):
        loaded(tmp_path / "a.nrrd")


def test_the_inferer_takes_what_preprocessing_leaves():
    for wrong in (torch.zeros(1, 1, 2, 2, 2), MetaTensor(torch.zeros(1, 1, 2, 2, 2))):
        with pytest.raises(InputError, match="one image at a time, as preprocessing leaves it"):
            LandmarkInferer(None)(wrong, None)


def test_rows_become_numbered_balls_and_markups(tmp_path):
    grid = Grid((20, 20, 20), np.diag([-1.0, -1.0, 2.0, 1.0]))
    image = MetaTensor(torch.zeros(1, 20, 20, 20), affine=torch.as_tensor(grid.affine.copy()))
    gone = [float("nan")] * 3
    nan = float("nan")
    rows = torch.tensor(
        [[0, *gone, 0.1, nan, 0], [2, -5, -6, 14, 0.9, 0.5, 0], [2, -15, -6, 14, 0.8, 1.5, 0]], dtype=torch.float64
    )
    rows = torch.cat([rows, torch.full((3, 2), nan)], 1)
    out = LandmarksToLabelMapd(names=["top", "never", "rib"])({"pred": rows, "image": image})
    assert out["pred"].shape == (1, 20, 20, 20)
    assert torch.equal(torch.as_tensor(out["pred"].affine), image.affine)
    assert sorted(np.unique(out["pred"])) == [0, 3]  # the name's number, whoever else was found
    assert int(out["pred"][0, 5, 6, 7]) == int(out["pred"][0, 15, 6, 7]) == 3
    (tmp_path / "a.mrk.json").write_text(json.dumps(out["result"]), encoding="utf-8")
    points = read_points(tmp_path / "a.mrk.json")
    assert points.names == ("top", "rib", "rib")
    np.testing.assert_allclose(points.points_mm, [gone, [-5, -6, 14], [-15, -6, 14]])
    np.testing.assert_allclose(points.error_mm, [np.nan, 0.5, 1.5])
    assert points.assessment is None
    assert points.coverage is None


class Doubting:
    """A detector that trusts one of its two points."""

    names = ("top", "rib")

    def detect(self, volume):
        assessment = Assessment((), ("", "far off"))
        return Landmarks(
            self.names, [[-5, -6, 14], [-15, -6, 14]], [0.9, 1], [0.5, 0.7], coverage=0.9, assessment=assessment
        )


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("meta", [True, False])
def test_what_is_not_trusted_leaves_by_monais_way_as_by_ours(tmp_path, keep, meta):
    grid = Grid((20, 20, 20), np.diag([-1.0, -1.0, 2.0, 1.0]))
    write_image(Volume(numbers(grid.shape), grid), tmp_path / "scan.nii.gz")
    image = loaded(tmp_path / "scan.nii.gz")
    (rows,) = decollate_batch(LandmarkInferer(Doubting(), keep_untrusted=keep)(image[None], None))
    rows = rows if meta else torch.as_tensor(rows.as_tensor())
    out = LandmarksToLabelMapd(names=Doubting.names)({"pred": rows, "image": image})
    assert sorted(np.unique(out["pred"])) == [0, 1]
    (tmp_path / "a.mrk.json").write_text(json.dumps(out["result"]), encoding="utf-8")
    points = read_points(tmp_path / "a.mrk.json").ordered(Doubting.names)
    assert points.present.tolist() == [True, keep]
    assert points.assessment.doubts == ("", "far off" if meta else "no reason is given")
    np.testing.assert_allclose(points.error_mm, [0.5, np.nan])
    assert points.coverage == 0.9


def test_points_are_saved_under_the_images_name_and_never_replace_others(tmp_path, capsys):
    state = SimpleNamespace(batch=[{"name": "scan"}], output=[{"result": {"markups": []}}])
    engine = SimpleNamespace(state=state)
    SavePoints(str(tmp_path / "out"))(engine)
    assert json.loads((tmp_path / "out" / "scan.mrk.json").read_text(encoding="utf-8")) == {"markups": []}
    assert "scan.mrk.json" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"scan\.mrk\.json: exists already"):
        SavePoints(str(tmp_path / "out"))(engine)


def test_images_of_a_folder_are_listed_with_their_names(tmp_path):
    for name in ("a.nii.gz", "b.mha"):
        write_image(Volume(np.zeros((2, 2, 2), np.int16), Grid((2, 2, 2), np.eye(4))), tmp_path / name)
    assert [(one["image"], one["name"]) for one in image_list(str(tmp_path))] == [
        (str(tmp_path / "a.nii.gz"), "a"),
        (str(tmp_path / "b.mha"), "b"),
    ]
    with pytest.raises(InputError, match="no image is given; set --image"):
        image_list("")


@pytest.fixture(scope="module")
def film_bundle(tmp_path_factory):
    """The bundle of therapy films with weights drawn from a seed."""
    folder = shutil.copytree(default_bundle("landmarknet"), tmp_path_factory.mktemp("films") / "landmarknet")
    path, config = read_config(folder, "inference.json")
    torch.manual_seed(0)
    network = build(config, "network_def", path)
    torch.nn.init.normal_(network.heatmap.network.head.weight)
    (folder / "models").mkdir(exist_ok=True)
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    config["detector"]["min_presence"] = 0.0
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def monai_run(bundle, image, output):
    config = next(path for path in (bundle / "inference.json", bundle / "configs" / "inference.json") if path.is_file())
    words = [
        "monai.bundle",
        "run",
        "--config_file",
        config,
        "--image",
        image,
        "--output_dir",
        output,
        "--device",
        "cpu",
    ]
    return subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_monais_own_command_gives_the_points_of_predict_for_radiographs(film_bundle, tmp_path):
    volume = film_phantom(**LANDMARKNET.phantoms["validation"][0]).volume
    (tmp_path / "films").mkdir()
    for number in range(2):
        data = np.clip(volume.data[..., 0] / volume.data.max() * 255, 0, 255 - number).astype(np.uint8)
        film = sitk.GetImageFromArray(data)
        film.SetSpacing(volume.grid.spacing_mm[1::-1].tolist())
        sitk.WriteImage(film, str(tmp_path / "films" / f"film{number}.mha"))
    done = monai_run(film_bundle, tmp_path / "films", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    detector = LandmarkDetector.from_bundle(film_bundle)
    for number in range(2):
        expected = detector.detect(read_image(tmp_path / "films" / f"film{number}.mha"))
        found = read_points(tmp_path / "out" / f"film{number}.mrk.json")
        assert (found.names, found.unit) == (expected.names, expected.unit)
        assert found.present.any()
        np.testing.assert_allclose(found.points_mm, expected.points_mm, atol=0.01)


STAND_IN = "def make_grid(*words, **options):\n    raise NotImplementedError\n\n\nsave_image = make_grid\n"


@pytest.mark.slow
def test_monai_labels_own_app_gives_the_points_of_predict_and_trains(label_python, tmp_path):
    images, app = tmp_path / "images", tmp_path / "app"
    images.mkdir()
    for number in range(2):
        phantom = cta_phantom(900_001 + number, spacing_mm=2.5, shape=(56, 56, 56))
        write_image(phantom.volume, images / f"heart{number}.nii.gz")
        write_points(phantom.landmarks, tmp_path / f"heart{number}.mrk.json")
    (monai_label,) = label_python.parents[1].glob("**/sample-apps/monaibundle")
    shutil.copytree(monai_label, app)
    (app / "model").mkdir(exist_ok=True)
    export_bundle(default_bundle("cascade"), app / "model" / "cascade")
    # The app imports two functions of torchvision, which it calls for no bundle; the real one is made for one PyTorch.
    (tmp_path / "own" / "torchvision").mkdir(parents=True)
    (tmp_path / "own" / "torchvision" / "__init__.py").touch()
    (tmp_path / "own" / "torchvision" / "utils.py").write_text(STAND_IN, encoding="utf-8")
    port = free_port()
    words = ["start_server", "--app", app, "--studies", images, "--host", "127.0.0.1", "--port", port]
    conf = ["--conf", "models", "cascade", "--conf", "zoo_source", "ngc", "--conf", "sam2", "false"]
    command = [str(word) for word in [label_python, "-m", "monailabel.main", *words, *conf]]
    path = f"{label_python.parent}:/usr/bin:/bin"  # its launcher runs the python that it finds there
    with running(command, port, images, PATH=path, PYTHONPATH=str(tmp_path / "own")) as server:
        info = server.json("GET", "/info/")
        names = LandmarkDetector.from_bundle(default_bundle("cascade")).names
        assert info["models"]["cascade"]["labels"] == {name: number for number, name in enumerate(names, start=1)}
        assert "cascade" in info["trainers"]
        markups, label_map = server.infer("cascade", "heart0")
        check_answer(markups, label_map, images / "heart0.nii.gz", tmp_path)
        for number in range(2):
            server.put_label(f"heart{number}", tmp_path / f"heart{number}.mrk.json")
        server.json("POST", "/train/cascade", {"max_epochs": 1, "val_split": 0.5})
        assert "epoch 1/1" in "\n".join(server.wait("/train/", "DONE")["details"])


def check_answer(markups, label_map, image, folder):
    """What the server has said of an image is what ``lmk3d predict`` finds."""
    expected = LandmarkDetector.from_bundle(default_bundle("cascade")).detect(read_image(image))
    (folder / "served.mrk.json").write_text(json.dumps(markups), encoding="utf-8")
    served = read_points(folder / "served.mrk.json")
    assert served.names == expected.names
    assert served.present.sum() >= 3
    np.testing.assert_allclose(served.points_mm, expected.points_mm, atol=0.01)
    (folder / "map.nii.gz").write_bytes(label_map)
    found = nib.load(folder / "map.nii.gz")
    np.testing.assert_allclose(found.affine, nib.load(image).affine, atol=1e-4)
    data = np.asarray(found.dataobj)
    assert data.shape == nib.load(image).shape
    for number, (name, point) in enumerate(zip(served.names, served.points_mm, strict=True), start=1):
        if np.isfinite(point).all():
            assert data[tuple(np.rint(Grid(data.shape, found.affine).to_vox(point)).astype(int))] == number, name
