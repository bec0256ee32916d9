"""What a training learns of its cases at the end: seen by the trained detector, copies left out, within a time."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from lmk3d.calibration import Calibration, read_calibration, write_calibration
from lmk3d.codecs import HeatmapCodec
from lmk3d.conformal import Radii, image_key
from lmk3d.evidence import Evidence, ImageEvidence
from lmk3d.geometry import Grid, Volume
from lmk3d.inference import LandmarkDetector, Level
from lmk3d.io import read_image, read_points, write_image, write_points
from lmk3d.landmarks import Landmarks
from lmk3d.networks import Cascade, HeatmapRefiner, HeatmapUNet
from lmk3d.networks.blocks import FlatDepth
from lmk3d.synthetic import MEDIASTINUM_LANDMARKS, film_phantom
from lmk3d.training import calibrate
from lmk3d.training.calibration import _right, _Seen
from lmk3d.transforms.intensity import Window

NAMES = ("left", "right", "top")
SHAPE_MM = np.array([[-9.0, 0, -5], [9.0, 1, -4], [0, 6.0, 9]])


def detector():
    torch.manual_seed(0)
    refiner = HeatmapRefiner(3, patch_size=8, channels=(4, 4, 4), max_move_vox=4.0)
    network = Cascade(HeatmapUNet(3, channels=(4, 8)), [refiner], num_landmarks=3)
    options = {"window": Window(0, 600), "codec": HeatmapCodec(), "spacing_mm": 2.0, "sides": (16, 16, 16)}
    return LandmarkDetector(network, names=NAMES, levels=[Level(1.0, 8)], min_presence=0.0, **options)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Twelve volumes with their points as a data list has them."""
    folder, generator, made = tmp_path_factory.mktemp("cases"), np.random.default_rng(0), []
    for number in range(12):
        grid = Grid.around([5.0, -3, 8], (20, 22, 18), 1.5)
        points = grid.center_mm + SHAPE_MM + generator.normal(scale=1.0, size=(3, 3))
        data = generator.normal(300, 60, size=grid.shape).astype(np.int16)
        image, label = folder / f"{number}.nii.gz", folder / f"{number}.mrk.json"
        write_image(Volume(data, grid), image)
        write_points(Landmarks(NAMES, points), label)
        made.append({"image": str(image), "label": str(label)})
    return made


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "models" / "model.pt"
    path.parent.mkdir()
    torch.save(detector().network.state_dict(), path)
    return path


def test_cases_are_learnt_and_new_scans_assessed(cases, weights, capsys):
    finder = detector()
    with torch.no_grad():
        finder.network.heatmap.head.bias.fill_(7.0)  # the weights in memory are not those of the file
    calibrate(finder, cases[:8], cases[8:], weights)
    assert "calibrating on 4 validation cases and 8 of training" in capsys.readouterr().out
    finder.calibration, notes = read_calibration(weights, NAMES)
    assert notes == ()
    assert finder.calibration.cases == {"training": 8, "validation": 4}
    assert len(finder.calibration.trust.arrangement.shapes) == 12
    radii = finder.calibration.radii
    assert radii.patients == tuple(image_key(read_image(case["image"])) for case in cases[8:])
    volume = read_image(cases[8]["image"])
    assert finder.detect(volume).assessment.reasons == ()
    evidence, truth = finder.examine(volume)[1], read_points(cases[8]["label"]).points_mm
    scores = np.linalg.norm(evidence.points(3) @ volume.grid.upright.T - truth, axis=1) / evidence.scale
    assert_allclose(radii.scores[0], np.where(np.isnan(scores), np.inf, scores), rtol=1e-3)
    assert finder.detect(volume).coverage == radii.given(0.9)
    dark = Volume((volume.data - 4000).astype(np.int16), volume.grid)
    dark.data[0, 0, 0] = 600
    assert finder.detect(dark).assessment.verdict == "unlike the training data"
    assert np.isnan(finder.detect(dark).error_mm).all()


def test_too_few_training_cases_assess_nothing(cases, weights):
    calibrate(detector(), cases[:3], cases[8:], weights)
    found, notes = read_calibration(weights, NAMES)
    assert found.trust is None
    assert found.radii is not None
    assert "calibrated on too few cases" in notes[0]


def test_copies_of_training_images_are_no_validation(cases, weights, capsys):
    calibrate(detector(), cases[:8], [*cases[8:], cases[0], cases[8]], weights)
    assert "left out: 1 validation case whose image is one of training, too" in capsys.readouterr().out
    assert json.loads(weights.with_name("calibration.json").read_text())["cases"] == {"training": 8, "validation": 4}


def test_of_many_training_cases_some_are_taken(cases, weights, capsys):
    calibrate(detector(), cases[:8] * 20, cases[8:], weights)
    assert "4 validation cases and 54 of training" in capsys.readouterr().out


def test_a_time_limit_leaves_what_was_seen_by_then(cases, weights, capsys):
    calibrate(detector(), cases[:8], cases[8:], weights, until=time.monotonic() - 1)
    assert "stopped by the time limit after 0 of 4 cases" in capsys.readouterr().out
    found, (note,) = read_calibration(weights, NAMES)
    assert "too few cases" in note
    assert found.radii is None


def test_cases_of_one_patient_count_as_one(cases, weights):
    held = [{**case, "patient": name} for case, name in zip(cases[8:], ("x", "y", "y", "y"), strict=True)]
    calibrate(detector(), cases[:8], held, weights)
    radii = read_calibration(weights, NAMES)[0].radii
    assert len(radii.patients) == 4
    assert len(radii) == 2
    assert not {"x", "y"} & set(radii.patients)  # names stay where they are


def test_radii_of_joined_folds_stay(cases, weights):
    keys = [image_key(read_image(case["image"])) for case in cases]
    for patients, kept in ((keys, True), ([*keys[8:], "of no case"], False)):
        radii = Radii(np.ones((len(patients), 3)), tuple(patients))
        write_calibration(Calibration({"training": 0, "validation": len(patients)}, radii=radii), weights)
        calibrate(detector(), cases[:8], cases[8:], weights)
        found = read_calibration(weights, NAMES)[0]
        assert found.trust is not None
        assert (found.radii.patients == tuple(patients)) == kept


def test_other_ranks_leave_it_to_the_first(cases, weights, monkeypatch):
    monkeypatch.setattr("lmk3d.training.calibration.rank", lambda: 1)
    calibrate(detector(), cases[:8], cases[8:], weights)
    assert not weights.with_name("calibration.json").exists()


def test_films_of_several_points_a_name_are_calibrated_too(tmp_path):
    torch.manual_seed(0)
    network = Cascade(FlatDepth(HeatmapUNet(2, channels=(4, 8), spatial_dims=2)), [], num_landmarks=2)
    codec = HeatmapCodec(instances=5, reading="heights")
    options = {"window": Window(1, 99, percentiles=True), "codec": codec, "spacing_mm": 4.0, "min_presence": 0.0}
    finder = LandmarkDetector(network, names=MEDIASTINUM_LANDMARKS, levels=[], unit="px", side_px=64.0, **options)
    films = [{"image": {"seed": seed, "kind": "mediastinum", "side_px": 64}, "label": ""} for seed in range(12)]
    path = tmp_path / "model.pt"
    torch.save(network.state_dict(), path)
    calibrate(finder, films[:8], films[8:], path)
    finder.calibration, _ = read_calibration(path, finder.names)
    trust = finder.calibration.trust
    assert (len(trust.features), trust.displacements) == (2, None)  # one stage alone does not disagree with itself
    film = film_phantom(20, kind="mediastinum", side_px=64).volume
    assert finder.detect(film).assessment.reasons == ()
    shuffled = np.random.default_rng(0).permutation(film.data.ravel()).reshape(film.data.shape)
    assert finder.detect(Volume(shuffled, film.grid, film.unit)).assessment.verdict == "unlike the training data"


def examples(*cases):
    """Which points of some cases are examples: each is the errors of four points, of the first stage's, and who won."""
    made = []
    for errors, first, outvoted in cases:
        image, points = ImageEvidence((), np.zeros(8), None, np.ones(3)), np.zeros((4, 3))
        points[:, 2] = first
        evidence = Evidence(image, np.arange(4), np.ones(4, bool), {"heatmap": points}, np.ones(4))
        evidence = replace(evidence, outvoted=np.array(outvoted))
        made.append(_Seen("", "", evidence, np.array(errors), np.ones(4), np.zeros((4, 3))))
    return [case.there.tolist() for case in _right(made)]


def test_what_is_grossly_wrong_in_validation_is_no_example():
    first, nobody = [2.0, 2.0, 3.0, 2.0], [False] * 4
    right, one, half = examples(
        ([1.0, 1.2, 0.8, 1.1], first, nobody),
        ([1.0, 30.0, 0.9, 1.0], first, nobody),
        ([30.0, 31.0, 1.0, 1.0], first, nobody),
    )
    assert right == [True] * 4
    assert one == [True, False, True, True]
    assert right != half == nobody  # a column one vertebra off: the rest of it is right by chance


def test_what_is_right_against_the_first_stage_is_no_example():
    """What seldom has to help says nothing of how unsure, and how far from the end, a first stage usually is."""
    errors, first, nobody = [1.0, 1.2, 0.8, 1.1], [2.0, 2.0, 3.0, 2.0], [False] * 4
    saved, one, outvoted, few = examples(
        (errors, [30.0, 31.0, 29.0, 2.0], nobody),  # by steps from the one that was right
        (errors, [30.0, 2.0, 2.0, 2.0], nobody),
        (errors, first, [True, True, False, False]),  # by where the landmarks usually lie
        (errors, first, [True, False, False, False]),
    )
    assert saved == outvoted == nobody
    assert one == few == [False, True, True, True]
