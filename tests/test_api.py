"""The names at the top: there, quick to import, and what they hand on to the rooms that do the work."""

from __future__ import annotations

import io
import json
import pydoc
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import lmk3d
from lmk3d.errors import InputError
from lmk3d.io import read_dataset, write_image

# Of an interpreter that starts anew, so that nothing is imported yet; the least of several is what the machine can do.
IMPORT = """
import sys, time
begun = time.perf_counter()
import lmk3d
print(time.perf_counter() - begun, *sorted({"numpy", "torch", "monai"} & sys.modules.keys()))
"""


def test_the_top_level_is_imported_at_once_and_imports_no_library():
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        taken, *libraries = done.stdout.split()
        assert not libraries
        seconds.append(float(taken))
    assert min(seconds) < 0.1


def test_every_name_at_the_top_is_what_its_room_has():
    for name in lmk3d.__all__:
        assert callable(getattr(lmk3d, name))
    assert set(lmk3d.__all__) <= set(dir(lmk3d))
    assert sorted(name for names in lmk3d._ROOMS.values() for name in names) == sorted(lmk3d.__all__)
    from lmk3d.geometry import Grid

    assert lmk3d.Grid is Grid
    with pytest.raises(AttributeError, match="module 'lmk3d' has no attribute 'grid'"):
        _ = lmk3d.grid


def test_help_shows_what_there_is():
    text = pydoc.plain(pydoc.render_doc(lmk3d))
    for said in ('lmk3d.load("cascade")', "class Landmarks", "class LandmarkDetector", "train(dataset"):
        assert said in text


def test_load_takes_a_name_or_a_folder_and_hands_on_device_and_coverage(fake_bundle):
    assert lmk3d.load("cascade").coverage == 0.9
    assert lmk3d.load(fake_bundle, coverage=0.8).coverage == 0.8
    assert lmk3d.load(str(fake_bundle)).names == ("brightest", "beside", "absent")
    with pytest.raises(InputError, match=r"faek: no such bundle folder, did you mean 'fake'\?"):
        lmk3d.load(fake_bundle.with_name("faek"))
    with pytest.raises(InputError, match="no bundle 'cascad'"):
        lmk3d.load("cascad")
    with pytest.raises(InputError, match="coverage must lie between 0 and 1, got 90"):
        lmk3d.load(coverage=90)


@pytest.fixture
def calls(monkeypatch):
    """What the two rooms behind the functions are asked for; neither is imported."""
    seen = []
    for room, name in (
        ("configure", "train_dataset"),
        ("configure.trust", "check_trusted"),
        ("evaluation", "evaluate"),
    ):
        module = ModuleType(f"lmk3d.{room}")
        setattr(module, name, lambda *words, _name=name, **options: seen.append((_name, words, options)))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return seen


def test_train_hands_over_paths_and_options_and_returns_the_bundle(calls, tmp_path):
    found = lmk3d.train("data.json", str(tmp_path / "mine"), budget_s=60, device="cpu", overrides={"epochs": 2})
    assert found == tmp_path / "mine"
    ((name, words, options),) = calls
    assert (name, words) == ("train_dataset", (Path("data.json"), tmp_path / "mine"))
    assert 50 < options.pop("budget_s") <= 60
    assert options == {"method": None, "device": "cpu", "overrides": {"epochs": 2}}


def test_train_looks_for_code_of_others_in_a_bundle_that_is_there(calls, tmp_path):
    (tmp_path / "train.json").touch()
    lmk3d.train("data.json", tmp_path, device="cpu")
    lmk3d.train("data.json", tmp_path, device="cpu", trust=True)
    assert [call[0] for call in calls] == ["check_trusted", "train_dataset", "train_dataset"]


def test_evaluate_hands_over_paths_and_options(calls, fake_bundle, tmp_path):
    lmk3d.evaluate("cascade", "data.json", str(tmp_path), section="test", sdr_mm=[2.0], device="cpu")
    options = {"section": "test", "sdr_mm": [2.0], "device": "cpu", "coverage": 0.9}
    assert calls == [("evaluate", (fake_bundle, Path("data.json"), tmp_path), options)]
    (tmp_path / "summary.json").touch()
    with pytest.raises(InputError, match="holds a report already; choose another folder, or --overwrite"):
        lmk3d.evaluate("cascade", "data.json", tmp_path, device="cpu")
    lmk3d.evaluate("cascade", "data.json", tmp_path, device="cpu", overwrite=True)
    assert len(calls) == 2


def test_a_data_set_in_memory_is_refused_in_words(calls, fake_bundle, tmp_path):
    (tmp_path / "data.json").write_text(json.dumps({"landmarks": ["a"], "training": [{"image": "a.nii"}]}))
    dataset = read_dataset(tmp_path / "data.json")
    for work in (lambda: lmk3d.train(dataset, tmp_path), lambda: lmk3d.evaluate("cascade", dataset, device="cpu")):
        with pytest.raises(TypeError, match="must be the path of a data set's JSON file, got a Dataset"):
            work()


@pytest.mark.slow
def test_a_training_an_evaluation_and_a_call_go_hand_in_hand(tiny_dataset, tmp_path):
    with redirect_stdout(io.StringIO()):
        bundle = lmk3d.train(tiny_dataset, tmp_path / "tiny", device="cpu", overrides={"epochs": 1})
        summary = lmk3d.evaluate(bundle, tiny_dataset, device="cpu")
    assert summary.result.overall.n + summary.result.overall.missed == 6
    detector = lmk3d.load(bundle, device="cpu")
    case = lmk3d.read_dataset(tiny_dataset).cases("validation")[0]
    volume = lmk3d.read_image(case.image)
    found = detector(case.image)
    assert_array_equal(found.points_mm, detector.detect(volume).points_mm)
    assert_array_equal(detector(volume.data, affine=volume.grid.affine).points_mm, found.points_mm)


def test_a_detector_takes_what_as_volume_takes_and_says_how_it_was_read(tmp_path, monkeypatch, bright_volume):
    from dataclasses import replace

    from lmk3d.inference import LandmarkDetector
    from lmk3d.landmarks import Landmarks

    def detect(self, volume):
        peak = volume.grid.to_mm(np.unravel_index(volume.data.argmax(), volume.data.shape))
        return Landmarks(("brightest",), [peak], notes=("phantoms only",))

    monkeypatch.setattr(LandmarkDetector, "detect", detect)
    detector = object.__new__(LandmarkDetector)
    write_image(bright_volume, tmp_path / "scan.nii.gz")
    seen = replace(bright_volume, notes=("its header is odd",))
    images = (bright_volume, tmp_path / "scan.nii.gz", str(tmp_path / "scan.nii.gz"), seen)
    for image in images:
        assert detector(image).points_mm.tolist() == [[-8.0, 24.0, 36.0]]
    assert detector(seen).notes == ("its header is odd", "phantoms only")
    assert detector(bright_volume.data, affine=bright_volume.grid.affine).points_mm.tolist() == [[-8.0, 24.0, 36.0]]
    with pytest.raises(InputError, match="give affine="):
        detector(bright_volume.data)


def test_what_a_detector_refuses_names_the_file(tmp_path, monkeypatch, bright_volume):
    from lmk3d.inference import LandmarkDetector

    def detect(self, volume):
        raise InputError("the image is constant; is it the right file?")

    with pytest.raises(TypeError, match="detect takes a Volume, got a str; call the detector itself with it"):
        object.__new__(LandmarkDetector).detect("scan.nii.gz")
    monkeypatch.setattr(LandmarkDetector, "detect", detect)
    write_image(bright_volume, tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match=r"scan\.nii\.gz: the image is constant"):
        object.__new__(LandmarkDetector)(tmp_path / "scan.nii.gz")
    with pytest.raises(InputError, match=r"^the image is constant"):
        object.__new__(LandmarkDetector)(bright_volume)
