"""The folder of a training: where it is, a bundle of its own, one training at a time, failures in one line."""

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lmk3d.components import read_config
from lmk3d.configure import write_bundle
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.training import begin_run, bundle_root, load_run, one_line_errors, run_folder

ROOT = Path(__file__).parent.parent.parent
PHANTOM = {"region": "heart", "shape": [32, 32, 32], "spacing_mm": 5.0}


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["--config_file", "here/bundles/one/train.json"], "here/bundles/one"),
        (["--config_file=here/bundles/one/configs/train.json"], "here/bundles/one"),
        (["run", "--config-file", "['here/one/train.json', 'here/one/paper.json']"], "here/one"),
        (["--config_file", "('here/one/train.json','x.json')"], "here/one"),
        (["--config_file"], "."),
        (["--other", "x"], "."),
    ],
)
def test_the_bundles_folder_is_read_from_the_command_line(monkeypatch, tmp_path, arguments, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", *arguments])
    assert bundle_root() == str(tmp_path / folder)


@pytest.fixture
def bundle(tmp_path, tiny_plan, monkeypatch):
    """A shipped bundle: one that draws its own phantoms."""
    phantoms = {"training": [{"seed": seed, **PHANTOM} for seed in (1, 2)], "validation": [{"seed": 3, **PHANTOM}]}
    folder = tmp_path / "bundles" / "tiny"
    write_bundle(folder, tiny_plan("", phantoms=phantoms, epochs=1, validate_every=1))
    monkeypatch.chdir(tmp_path)
    return folder


def command(monkeypatch, *words, files=("bundles/tiny/train.json",)):
    """What sys.argv is while MONAI's command runs."""
    place = ["/python/monai/bundle/__main__.py", "run", "training"]
    monkeypatch.setattr(sys, "argv", [*place, "--config_file", str(list(files)), *words])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    for name in ("ignite", "monai"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.getLogger(name).level)


def test_runs_of_a_shipped_bundle_go_to_folders_of_their_own(bundle, monkeypatch):
    command(monkeypatch)
    assert run_folder("training") == str(bundle / "runs" / "training")
    assert run_folder("paper") == str(bundle / "runs" / "paper")
    assert read_config(bundle, "train.json")[1]["bundle_root"] == "$lmk3d.training.run_folder('training')"
    assert read_config(bundle, "paper.json")[1]["bundle_root"] == "$lmk3d.training.run_folder('paper')"


def test_runs_of_an_installed_bundle_go_to_the_current_folder(bundle, tmp_path, monkeypatch):
    command(monkeypatch)
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(bundle))
    assert run_folder("training") == str(tmp_path / "runs" / "tiny" / "training")


def test_a_bundle_of_ones_own_is_trained_in_place(tmp_path, tiny_plan, tiny_dataset):
    write_bundle(tmp_path, tiny_plan(tiny_dataset))
    assert read_config(tmp_path, "train.json")[1]["bundle_root"] == "$lmk3d.training.bundle_root()"


def test_a_run_gets_a_bundle_of_its_settings(bundle, tmp_path, tiny_dataset, monkeypatch, capsys):
    words = ["--epochs", "7", "--detector#tolerance_mm=3.5", "--dataset", os.path.relpath(tiny_dataset)]
    command(monkeypatch, *words, "--bundle-root", "out")
    lock = begin_run("out")
    assert capsys.readouterr().out == "training in out\n"
    (_, train), (_, inference) = (read_config(tmp_path / "out", name) for name in ("train.json", "inference.json"))
    assert (train["epochs"], train["detector"]["tolerance_mm"]) == (7, 3.5)
    assert train["dataset"] == str(tiny_dataset)
    assert train["bundle_root"] == "$lmk3d.training.bundle_root()"  # it is trained on in place
    assert inference["detector"]["tolerance_mm"] == 3.5
    about = read_config(tmp_path / "out", "metadata.json")[1]
    assert about["data_source"] == "a data set of one's own"
    assert "warning" not in about
    assert {"evaluate.json", "multi_gpu_train.json", "logging.conf"} <= {path.name for path in Path("out").iterdir()}
    assert lock is not None


def test_a_run_with_the_papers_settings_says_what_its_network_gives(bundle, monkeypatch):
    files = [f"bundles/tiny/{name}.json" for name in ("train", "paper")]
    command(monkeypatch, "--network_def#heatmap#channels", "[4,4,4,4]", files=files)
    lock = begin_run(run_folder("paper"))
    run = bundle / "runs" / "paper"
    formats = read_config(run, "metadata.json")[1]["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == [128, 128, 128]
    assert formats["outputs"]["pred"]["num_channels"] == 4
    # What the numbers of the label map mean, whatever the maps of the network are.
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "left", "2": "right", "3": "top"}
    assert formats["outputs"]["pred"]["spatial_shape"] == [128, 128, 128]  # maps as fine as the image
    inference = read_config(run, "inference.json")[1]
    assert inference["codec"]["background"] is True
    assert inference["network_def"]["heatmap"]["channels"] == [4, 4, 4, 4]
    assert lock is not None


def test_a_folder_that_holds_a_training_of_other_settings_is_refused(bundle, monkeypatch):
    command(monkeypatch)
    run = Path(run_folder("training"))
    begin_run(str(run))
    command(monkeypatch, "--spacing_mm", "4.0")
    begin_run(str(run))  # nothing was trained yet
    (run / "models").mkdir()
    (run / "models" / "last.pt").write_bytes(b"")
    command(monkeypatch, "--epochs", "9", "--spacing_mm", "4.0")
    begin_run(str(run))
    assert read_config(run, "train.json")[1]["epochs"] == 9
    command(monkeypatch, "--sides", "[32,32,32]")
    with pytest.raises(InputError, match="training: holds a training with another spacing_mm, sides; give another"):
        begin_run(str(run))
    assert read_config(run, "train.json")[1]["epochs"] == 9


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"file/run: cannot be made \(.*\); give --bundle_root FOLDER"):
        begin_run(str(tmp_path / "file" / "run"))


HOLD = "import sys, time; from lmk3d.training import begin_run; lock = begin_run(sys.argv[1]); time.sleep(60)"


def test_one_training_runs_in_a_folder_at_a_time_until_it_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as other:
        assert other.stdout.readline().startswith(b"training in")
        with pytest.raises(InputError, match="another training runs in this folder; wait for its end, or train into"):
            begin_run(str(tmp_path))
        other.kill()
    assert begin_run(str(tmp_path)) is not None


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    for folder in (tmp_path, tmp_path / "models"):
        (folder / ".x1.part").mkdir(parents=True)
        (folder / ".x1.part" / "last.pt").write_bytes(b"half")
    lock = begin_run(str(tmp_path))
    assert not list(tmp_path.rglob("*.part"))
    assert lock is not None


def test_the_second_process_of_a_training_locks_and_says_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    assert begin_run(str(tmp_path / "run")) is None
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "run").exists()


def test_the_runs_weights_are_evaluated_or_else_those_that_are_shipped(bundle, monkeypatch, capsys):
    command(monkeypatch)
    network, run = torch.nn.Linear(1, 1, bias=False), Path(run_folder("training"))
    with pytest.raises(InputError, match=r"runs/training/models/model.pt: no such file; train the bundle"):
        load_run(network, str(run))
    for number, folder in enumerate((bundle, run), start=1):
        (folder / "models").mkdir(parents=True)
        torch.save({"weight": torch.full((1, 1), float(number))}, folder / "models" / "model.pt")
        capsys.readouterr()
        load_run(network, str(run))
        assert network.weight.item() == number
        assert f"evaluating {folder / 'models' / 'model.pt'}" in (said := capsys.readouterr().out)
        assert ("the shipped weights: nothing is trained in" in said) == (folder is bundle)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("file: is\nwrong"), 2, "lmk3d: error: file: is wrong\n"),
        (KeyboardInterrupt("stopped; resume it"), 130, "lmk3d: stopped; resume it\n"),
        (KeyboardInterrupt(), 130, "lmk3d: stopped before the first step\n"),
    ],
)
def test_what_a_user_can_mend_ends_monais_command_in_one_line(bundle, monkeypatch, capsys, error, code, line):
    command(monkeypatch)
    one_line_errors()
    try:
        raise RuntimeError("Failed to instantiate component") from error
    except RuntimeError as wrapped:
        with pytest.raises(SystemExit) as ended:
            sys.excepthook(type(wrapped), wrapped, wrapped.__traceback__)
    assert ended.value.code == code
    assert capsys.readouterr().err == line


def test_a_bug_keeps_its_traceback_and_other_commands_their_hook(bundle, monkeypatch, capsys):
    before = sys.excepthook
    one_line_errors()
    assert sys.excepthook is before  # this is pytest
    command(monkeypatch)
    one_line_errors()
    try:
        raise RuntimeError("a bug")
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    assert "RuntimeError: a bug" in capsys.readouterr().err


def monai(tree, *words, task="training", files=("train",), name="cascade", **options):
    paths = [f"bundles/{name}/{file}.json" for file in files]
    config = str(paths) if len(paths) > 1 else paths[0]
    environment = {**os.environ, "PYTHONPATH": str(tree), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "monai.bundle", "run", task, "--config_file", config, *words]
    return subprocess.Popen(
        line, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def digests(tree, names):
    return {name: hashlib.sha256((tree / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.slow
def test_monais_command_changes_no_file_of_a_clone(tmp_path):
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("only a checkout tells files of the project from others")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    names = [name for name in listed if name.startswith(("lmk3d/", "bundles/")) and (ROOT / name).is_file()]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    before = digests(tmp_path, names)
    phantoms = {"training": [{"seed": seed, **PHANTOM} for seed in (1, 2)], "validation": [{"seed": 3, **PHANTOM}]}
    words = ["--phantoms", str(phantoms), "--sides", "[32,32,32]", "--epochs", "1", "--validate_every", "1"]
    run = tmp_path / "bundles" / "cascade" / "runs" / "training"
    for said in ("trained 1 epoch, best validation error", "finished: 1 epoch of 1 done in"):
        with monai(tmp_path, *words) as process:
            text = process.communicate(timeout=300)[0]
        assert process.returncode == 0, text
        assert f"training in {run}" in text
        assert said in text
    with monai(tmp_path, *words, task="evaluating", files=("train", "evaluate")) as process:
        text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text
    assert f"evaluating {run / 'models' / 'model.pt'}" in text
    with monai(tmp_path, *words, "--spacing_mm", "2.0") as process:
        text = process.communicate(timeout=300)[0]
    assert process.returncode == 2
    assert "training: holds a training with another spacing_mm; give another folder" in text.splitlines()[-1]
    assert "Traceback" not in text
    assert digests(tmp_path, names) == before
    others = {path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*") if path.is_file()}
    assert {place for place in others if place[2:] == ("runs",)} == {("bundles", "cascade", "runs")}
    detector = LandmarkDetector.from_bundle(run)  # a bundle of its own
    assert detector.names == LandmarkDetector.from_bundle(tmp_path / "bundles" / "cascade").names
    assert json.loads((run / "train.json").read_text(encoding="utf-8"))["sides"] == [32, 32, 32]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there Ctrl-C goes to a whole console")
def test_monais_command_that_is_stopped_ends_in_one_line_and_resumes(tmp_path, tiny_plan, tiny_dataset):
    write_bundle(tmp_path / "bundles" / "tiny", tiny_plan(tiny_dataset, validate_every=1))
    (tmp_path / "lmk3d").symlink_to(ROOT / "lmk3d")
    # A shell's background jobs ignore Ctrl-C, and so would their children.
    start = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with monai(tmp_path, "--epochs", "10000", name="tiny", **start) as process:
        for line in process.stdout:
            if line.startswith("epoch 3/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, rest
    last = rest.splitlines()[-1]
    assert last.startswith("lmk3d: stopped; run the same command again to resume: nothing lost but the last "), rest
    assert "Traceback" not in rest
    epoch = torch.load(tmp_path / "bundles/tiny/models/last.pt", weights_only=True)["epoch"]
    with monai(tmp_path, "--epochs", str(epoch + 1), name="tiny") as process:
        text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text
    assert f"resumed after epoch {epoch}" in text


def test_an_entry_that_train_json_does_not_have_is_named(bundle, monkeypatch):
    command(monkeypatch, "--epoch", "1", files=["bundles/tiny/train.json"])
    with pytest.raises(
        InputError, match=r"--epoch: bundles/tiny/train\.json has no such entry; did you mean 'epochs'\?"
    ):
        begin_run(run_folder("training"))
