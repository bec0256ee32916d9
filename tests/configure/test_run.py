"""From a data set to a trained and measured bundle."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lmk3d.components import read_config
from lmk3d.configure import LevelPlan, Plan, run, train_dataset, write_bundle
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.io import read_dataset, write_points
from lmk3d.metrics import Breakdown, MissingScore, Summary, statistics
from lmk3d.synthetic import SKULL_LANDMARKS, film_phantom
from lmk3d.training import TimeLimit

ROOT = Path(__file__).parent.parent.parent
GOOD = Summary("mm", 1, Breakdown(statistics([1.0]), {}), MissingScore(0, 0, 0), {})  # of an evaluation


def small_plan(dataset, **options):
    settings = {
        "names": ("left", "right", "top"),
        "pairs": (("left", "right"),),
        "low": 0.0,
        "high": 600.0,
        "spacing_mm": 2.0,
        "sides": (16, 16, 16),
        "levels": (LevelPlan(1.0, 8, 1.0, (4, 4, 4), count=2),),
        "channels": (4, 8),
        "epochs": 2,
        "validate_every": 1,
        "dataset": str(dataset),
    }
    return Plan("tiny", "for tests", **{**settings, **options})


@pytest.fixture
def bundle(tmp_path, tiny_dataset):
    """A small bundle that is not trained yet."""
    write_bundle(tmp_path / "bundle", small_plan(tiny_dataset))
    return tmp_path / "bundle"


def test_a_bundle_that_is_there_is_trained_as_it_stands_and_measured(bundle, tiny_dataset, capsys, monkeypatch):
    measured = []
    monkeypatch.setattr(run, "evaluate", lambda *paths, **options: measured.append((*paths, options)) or GOOD)
    about = read_config(bundle, "metadata.json")[1] | {"data_source": "phantoms", "warning": "phantoms alone"}
    (bundle / "metadata.json").write_text(json.dumps(about), encoding="utf-8")
    train_dataset(tiny_dataset, bundle, device="cpu", overrides={"epochs": 3})
    assert torch.load(bundle / "models" / "last.pt", weights_only=True)["epoch"] == 3
    assert read_config(bundle, "train.json")[1]["epochs"] == 3
    assert LandmarkDetector.from_bundle(bundle).names == ("left", "right", "top")
    assert LandmarkDetector.from_bundle(bundle).notes == ()  # the weights have seen the data set now
    known = read_dataset(tiny_dataset).name
    assert read_config(bundle, "metadata.json")[1]["data_source"] == f"the data set {known}"
    assert measured == [
        (bundle, tiny_dataset, bundle / "evaluation", {"section": "validation", "device": "cpu", "until": None})
    ]
    text = capsys.readouterr().out
    assert "epoch 3/3: loss heatmap" in text
    assert "trained 3 epochs, best validation error" in text
    assert "wrote" not in text
    assert "limitations" not in read_config(bundle, "metadata.json")[1]


def test_what_is_set_for_training_holds_for_prediction(bundle, tiny_dataset, monkeypatch):
    monkeypatch.setattr(run, "evaluate", lambda *paths, **options: GOOD)
    before = read_config(bundle, "inference.json")[1]
    overrides = {"epochs": 1, "spacing_mm": 3.0, "detector#tolerance_mm": 7.0, "levels#0#passes": 2}
    train_dataset(tiny_dataset, bundle, device="cpu", overrides=overrides)
    after = read_config(bundle, "inference.json")[1]
    assert (after["spacing_mm"], after["levels"][0]["passes"]) == (3.0, 2)
    assert after["detector"] == {**before["detector"], "tolerance_mm": 7.0}
    assert {name for name in before if before[name] != after[name]} == {"spacing_mm", "levels", "detector"}
    detector = LandmarkDetector.from_bundle(bundle)
    assert (detector.spacing_mm, detector.tolerance_mm) == (3.0, 7.0)
    # Once weights are there, what somebody has set for prediction alone stays.
    (bundle / "inference.json").write_text(json.dumps({**after, "spacing_mm": 4.0}), encoding="utf-8")
    train_dataset(tiny_dataset, bundle, device="cpu", overrides={"epochs": 2, "detector#min_presence": 0.25})
    again = read_config(bundle, "inference.json")[1]
    assert (again["spacing_mm"], again["detector"]["min_presence"]) == (4.0, 0.25)
    assert again["detector"] == {**after["detector"], "min_presence": 0.25}


def test_a_bundle_is_not_trained_on_what_it_was_not_made_for(bundle, tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "evaluate", lambda *paths, **options: GOOD)
    content = json.loads(tiny_dataset.read_text(encoding="utf-8"))
    others = {}
    for name, changed in ("copy", content), ("other", content | {"landmarks": ["left", "right", "up"], "pairs": []}):
        others[name] = tmp_path / f"{name}.json"
        for section in ("training", "validation"):
            for case in changed[section]:
                case.update({key: str(tiny_dataset.parent / case[key]) for key in ("image", "points")})
        others[name].write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"bundle: is a bundle for other landmarks .*another --output for .*other.json"
    ):
        train_dataset(others["other"], bundle, device="cpu")
    with pytest.raises(InputError, match=r"bundle: is a bundle of the method cascade, not of plain; choose another"):
        train_dataset(tiny_dataset, bundle, method="plain", device="cpu")
    train_dataset(tiny_dataset, bundle, method="cascade", device="cpu", overrides={"epochs": 1})
    with pytest.raises(InputError, match=r"bundle: its training began on .*dataset.json; train on that, or choose"):
        train_dataset(others["copy"], bundle, device="cpu")
    assert torch.load(bundle / "models" / "last.pt", weights_only=True)["epoch"] == 1
    config = read_config(bundle, "train.json")[1]
    (bundle / "train.json").write_text(json.dumps(config | {"dataset": str(tmp_path / "moved.json")}), encoding="utf-8")
    train_dataset(others["copy"], bundle, device="cpu", overrides={"epochs": 2})  # the data set has been moved
    assert torch.load(bundle / "models" / "last.pt", weights_only=True)["epoch"] == 2


def test_a_budget_leaves_time_for_the_evaluation_also_of_a_training_that_resumes(bundle, tiny_dataset, monkeypatch):
    monkeypatch.setattr(run, "evaluate", lambda *paths, **options: GOOD)
    bounds = []

    def limit(seconds, *, closing_s, **others):
        bounds.append((seconds, closing_s))
        return TimeLimit(1, **others)

    monkeypatch.setattr(run, "TimeLimit", limit)
    monkeypatch.setattr(run, "_validation_seconds", lambda parser: 10.0)
    train_dataset(tiny_dataset, bundle, device="cpu", overrides={"epochs": 1})
    train_dataset(tiny_dataset, bundle, device="cpu", budget_s=100, overrides={"epochs": 2})
    assert 60 < bounds[0][0] < 0.95 * 100
    # The validation cases twice, a tenth of the budget for those of training, tables and pictures.
    assert bounds[0][1] == 2 * 10 + 10 + 15


def test_a_training_that_kept_to_its_budget_is_finished(bundle, tiny_dataset, monkeypatch, capsys):
    monkeypatch.setattr(run, "evaluate", lambda *paths, **options: GOOD)
    monkeypatch.setattr(run, "TimeLimit", lambda seconds, *, closing_s, **others: TimeLimit(1, **others))
    monkeypatch.setattr(run, "_validation_seconds", lambda parser: 0.1)
    train_dataset(tiny_dataset, bundle, device="cpu", budget_s=60)
    config = read_config(bundle, "train.json")[1]
    last = torch.load(bundle / "models" / "last.pt", weights_only=True)
    assert (last["epoch"], last["finished"], config["validate_every"]) == (config["epochs"], True, 1)
    text = capsys.readouterr().out
    assert " s of training and validation, then calibration and evaluation (about 15.4 s)" in text
    train_dataset(tiny_dataset, bundle, device="cpu", budget_s=60)
    assert f"finished: {config['epochs']} epoch" in (text := capsys.readouterr().out)
    assert "loss" not in text


def test_a_result_no_better_than_the_mean_shape_is_called_undertrained(bundle, tiny_dataset, capsys):
    train_dataset(tiny_dataset, bundle, device="cpu", overrides={"epochs": 1})
    note = read_config(bundle, "metadata.json")[1]["limitations"]
    assert re.match(r"Undertrained: .*, no better than the aligned mean shape \([0-9.]+ mm\). Train longer", note)
    assert note in capsys.readouterr().out
    assert note in (bundle / "evaluation" / "index.html").read_text(encoding="utf-8")
    run._note_in_card(bundle, None)
    assert "limitations" not in read_config(bundle, "metadata.json")[1]


@pytest.mark.slow
def test_two_processes_train_one_network(bundle):
    files = [str(bundle / name) for name in ("train.json", "multi_gpu_train.json")]
    arguments = ["--config_file", str(files), "--bundle_root", str(bundle), "--validate_every", "2"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "monai.bundle",
    ]
    done = subprocess.run(
        [*command, "run", "training", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("epoch 2/2: loss heatmap") == 1
    assert LandmarkDetector.from_bundle(bundle).names == ("left", "right", "top")
    assert torch.load(bundle / "models" / "last.pt", weights_only=True)["epoch"] == 2
    assert len(list((bundle / "eval").glob("events.*"))) == 2  # losses and errors, each of the first process alone


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there Ctrl-C goes to a whole console")
def test_a_training_that_is_interrupted_ends_in_one_line_and_goes_on(bundle, tiny_dataset):
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program += "; from lmk3d.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["train", str(tiny_dataset), "--output", str(bundle), "--device", "cpu", "--set"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command, "epochs=10000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("epoch 3/"):
            process.send_signal(signal.SIGINT)
            break
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert not list(bundle.rglob("*.part"))
    epoch = torch.load(bundle / "models" / "last.pt", weights_only=True)["epoch"]
    assert epoch >= 2
    done = subprocess.run(
        [sys.executable, "-c", program, *command, f"epochs={epoch + 1}"], capture_output=True, text=True, check=True
    )
    assert f"resumed after epoch {epoch}" in done.stdout


@pytest.mark.slow
def test_a_data_set_becomes_a_bundle_within_its_budget(tmp_path, tiny_dataset, capsys):
    begun = time.monotonic()
    train_dataset(tiny_dataset, tmp_path / "bundle", budget_s=60, device="cpu")
    assert 30 < time.monotonic() - begun < 90  # a busy computer may run late; the plan's epochs would take far longer
    assert LandmarkDetector.from_bundle(tmp_path / "bundle").names == ("left", "right", "top")
    config = json.loads((tmp_path / "bundle" / "train.json").read_text(encoding="utf-8"))
    fingerprint = json.loads((tmp_path / "bundle" / "fingerprint.json").read_text(encoding="utf-8"))
    assert fingerprint["median_shape"] == [20, 22, 18]
    text = capsys.readouterr().out
    assert "median 20 x 22 x 18" in text  # the fingerprint
    assert "4 training cases with points, fewer than ten" in text
    assert "train.json: every setting stands there" in text
    assert f"trained {config['epochs']} epoch" in text
    summary = json.loads((tmp_path / "bundle" / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    assert summary


def test_a_budget_that_is_too_short_is_refused_with_one_that_would_do(bundle, tiny_dataset):
    text = r"--budget: too short: loading takes [0-9.]+ s here, .* each; give at least 2m"
    with pytest.raises(InputError, match=text):
        train_dataset(tiny_dataset, bundle, budget_s=0.01, device="cpu")
    assert not (bundle / "models").exists()


def test_problems_of_the_data_set_come_first(tmp_path, tiny_dataset):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_dataset.parent, folder)
    (folder / "1.nii.gz").unlink()
    (folder / "2.mrk.json").unlink()
    with pytest.raises(InputError, match=r"dataset.json: training, case 1: .*1.nii.gz.* \(and 1 more\); `lmk3d check"):
        train_dataset(folder / "dataset.json", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_an_output_that_cannot_be_a_folder_is_named(tmp_path, tiny_dataset):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="file: is a file; give the folder of a bundle, or of one to be made"):
        train_dataset(tiny_dataset, tmp_path / "file")
    with pytest.raises(InputError, match=r"bundle: cannot be made \(.*\); choose another folder"):
        write_bundle(tmp_path / "file" / "bundle", small_plan(tiny_dataset))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"epochs": "abc"}, "train.json: epochs cannot be 'abc'; give a whole number"),
        ({"epochs": 1.5}, "train.json: epochs cannot be 1.5; give a whole number"),
        ({"epochs": 0}, "train.json: epochs cannot be 0; give a number above 0"),
        ({"epochs": None}, "train.json: epochs cannot be None; give a whole number"),
        ({"epochs": [3]}, r"train.json: epochs cannot be \[3\]; give a number above 0"),
        ({"levels#0#spacing_mm": -1.0}, "levels#0#spacing_mm cannot be -1.0; give a number above 0"),
        ({"learning_rate": float("nan")}, "train.json: learning_rate cannot be nan; give a number"),
        ({"sides": "[16,16"}, r"train.json: sides cannot be '\[16,16'; give a list, such as \[1, 2\]"),
        ({"codec": "foo"}, "train.json: codec cannot be 'foo'; give an object of JSON"),
        ({"detector#pose": "foo"}, "train.json: pose must be 'world' or 'any', got 'foo'; correct that setting"),
        ({"epoch": 3}, r"train.json: it has no 'epoch'; did you mean 'epochs'\?"),
        (
            {"train#trainer#max_epoch": 3},
            r"train.json: train#trainer: SupervisedTrainer has no argument 'max_epoch'; did you mean 'max_epochs'\?",
        ),
        ({"train#trainer#deep#er": 3}, "train.json: 'train#trainer#deep#er' leads nowhere in it"),
        ({"window#hgih": 3}, r"train.json: window: Window has no argument 'hgih'; did you mean 'high'\?"),
        ({"learning_rate": "$@learning_rat / 2"}, r"learning_rate: nothing is called 'learning_rat'; did you mean"),
        (
            {"train#optimizer#_target_": "torch.optim.AdamV"},
            "train.json: train#optimizer: there is no 'torch.optim.AdamV'; check its spelling",
        ),
        ({"train#augment#0#pair": 3}, r"train#augment#0: RandMirrord has no argument 'pair'; did you mean 'pairs'\?"),
        (
            {"train#dataloader#bacth_size": 3},
            r"train#dataloader: DataLoader has no argument 'bacth_size'; did you mean 'batch_size'\?",
        ),
    ],
)
def test_slips_in_overrides_and_files_are_named(bundle, tiny_dataset, overrides, text):
    with pytest.raises(InputError, match=text) as caught:
        train_dataset(tiny_dataset, bundle, device="cpu", overrides=overrides)
    assert "\n" not in str(caught.value)


def test_what_is_turned_off_or_said_of_each_is_no_slip(bundle):
    changes = {"levels#0#share": [0.5, 1.0, 1.0], "levels#0#passes": 2, "detector#min_presence": None}
    changes |= {"train#augment#1#zoom": 0, "train#augment#1#shift_mm": [1, 2, 3]}
    config = run.parsed(bundle, changes).get()
    assert config["levels"][0]["share"] == [0.5, 1.0, 1.0]
    assert config["detector"]["min_presence"] is None


@pytest.mark.parametrize(
    ("sides", "text"), [([16, 16], "sides must be three numbers"), ([18, 16, 16], "each of sides must be a multiple")]
)
def test_a_setting_that_its_component_refuses_is_named(bundle, tiny_dataset, sides, text):
    with pytest.raises(InputError, match=rf"train.json: {text} of .*, got {re.escape(str(sides))}; correct that"):
        train_dataset(tiny_dataset, bundle, device="cpu", overrides={"sides": sides})
    assert read_config(bundle, "train.json")[1]["sides"] == [16, 16, 16]
    assert not (bundle / "models").exists()


def test_a_slip_leaves_no_bundle_behind(tiny_dataset, tmp_path):
    with pytest.raises(InputError, match=r"new/train.json: it has no 'epoch'; did you mean 'epochs'\?"):
        train_dataset(tiny_dataset, tmp_path / "new", device="cpu", overrides={"epoch": 3})
    assert not (tmp_path / "new").exists()


def test_a_device_that_is_not_there_is_named(bundle, tiny_dataset):
    with pytest.raises(InputError, match="unknown device 'coda'"):
        train_dataset(tiny_dataset, bundle, device="coda")


def monai_run(folder, epochs, *, until=None):
    """Train with MONAI's own command; with ``until`` the process is killed as soon as it has printed that."""
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(folder / "train.json")]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command += ["--epochs", str(epochs)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if until is not None and until in line:
                process.kill()
        process.wait()
    text = "".join(lines)
    assert (process.returncode == 0) == (until is None), text
    return text


@pytest.mark.slow
def test_monais_command_trains_and_goes_on_after_a_kill(tmp_path, tiny_dataset):
    states = []
    for name, until in (("whole", None), ("killed", "epoch 5/8")):
        folder = tmp_path / name
        write_bundle(folder, small_plan(tiny_dataset, validate_every=4, repeats=4))
        if until is not None:
            monai_run(folder, 8, until=until)
        text = monai_run(folder, 8)
        assert ("resumed after epoch 4" in text) == (until is not None)
        assert "epoch 8/8: loss heatmap" in text
        states.append(torch.load(folder / "models" / "last.pt", weights_only=True)["network"])
    one, two = states
    assert not [name for name in one if not torch.equal(one[name], two[name])]


def test_films_without_a_spacing_are_trained_on_and_measured_in_pixels(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    cases = []
    for number in range(3):
        film = film_phantom(number, side_px=64, unit="px")
        image.fromarray(film.volume.data[:, :, 0]).save(tmp_path / f"{number}.png")
        write_points(film.landmarks, tmp_path / f"{number}.csv")
        cases.append({"image": f"{number}.png", "points": f"{number}.csv"})
    content = {"landmarks": SKULL_LANDMARKS, "training": cases[:2], "validation": cases[2:]}
    (tmp_path / "films.json").write_text(json.dumps(content), encoding="utf-8")
    changes = {"epochs": 1, "validate_every": 1}
    train_dataset(tmp_path / "films.json", tmp_path / "bundle", device="cpu", overrides=changes)
    text = capsys.readouterr().out
    assert re.search(r"epoch 1/1: loss heatmap .*, validation error heatmap [0-9.]+ px, refined 1 [0-9.]+ px", text)
    summary = json.loads((tmp_path / "bundle" / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    assert summary["unit"] == "px"
    assert (tmp_path / "bundle" / "evaluation" / "worst-1.png").is_file()
