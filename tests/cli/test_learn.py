from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from lmk3d.cli import main
from lmk3d.errors import InputError


@pytest.fixture
def trusts(monkeypatch):
    """The bundles whose train.json is looked through for code of others; all of them hold some."""
    seen, module = [], ModuleType("lmk3d.configure.trust")

    def check_trusted(folder):
        seen.append(folder)
        raise InputError(f"{folder}: holds code; give --trust")

    module.check_trusted = check_trusted
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return seen


@pytest.fixture
def calls(monkeypatch):
    """What the two rooms behind the commands are asked for; neither is imported."""
    seen = []
    for room, names in (("configure", ["train_dataset"]), ("evaluation", ["evaluate", "evaluate_points"])):
        module = ModuleType(f"lmk3d.{room}")
        module.SDR_MM = (1.0,)
        for name in names:
            setattr(module, name, lambda *words, _name=name, **options: seen.append((_name, words, options)))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return seen


def test_train_hands_over_paths_budget_device_and_overrides(calls, tmp_path):
    data, out = tmp_path / "d.json", tmp_path / "out"
    words = ["train", str(data), "--output", str(out), "--budget", "1h30m", "--device", "cpu"]
    assert main([*words, "--set", "epochs=3", "--set", "name=x"]) == 0
    budget_s = calls[0][2]["budget_s"]
    assert 5390 < budget_s <= 5400  # what was spent on the way is gone
    options = {"method": None, "budget_s": budget_s, "device": "cpu", "overrides": {"epochs": 3, "name": "x"}}
    assert calls == [("train_dataset", (data, out), options)]


def test_training_a_folder_with_code_of_others_asks_for_trust(calls, trusts, tmp_path, capsys):
    words = ["train", "d.json", "--output", str(tmp_path), "--device", "cpu"]
    assert main(words) == 0  # a new bundle
    (tmp_path / "train.json").touch()
    assert main(words) == 2
    assert capsys.readouterr().err.endswith("holds code; give --trust\n")
    assert main([*words, "--trust"]) == 0
    assert trusts == [tmp_path]
    assert len(calls) == 2


def test_evaluate_hands_over_bundle_data_set_section_and_distances(calls, fake_bundle, tmp_path):
    data, out = tmp_path / "d.json", tmp_path / "report"
    words = ["evaluate", str(fake_bundle), str(data), "--device", "cpu"]
    assert main(words) == 0
    assert main([*words, "--section", "test", "--output", str(out), "--sdr", "4,0.5", "--coverage", "0.8"]) == 0
    assert calls == [
        (
            "evaluate",
            (fake_bundle, data, None),
            {"device": "cpu", "coverage": 0.9, "section": "validation", "sdr_mm": None},
        ),
        (
            "evaluate",
            (fake_bundle, data, out),
            {"device": "cpu", "coverage": 0.8, "section": "test", "sdr_mm": (0.5, 4.0)},
        ),
    ]


def test_evaluate_compares_points_that_something_else_predicted(calls, tmp_path):
    assert main(["evaluate", str(tmp_path), "d.json", "--points"]) == 0
    assert calls[0][0] == "evaluate_points"
    assert calls[0][1][0] == tmp_path


def test_evaluate_keeps_an_earlier_report_unless_overwrite_is_given(calls, fake_bundle, tmp_path, capsys):
    (tmp_path / "summary.json").write_text("{}", encoding="utf-8")
    words = ["evaluate", str(fake_bundle), "d.json", "--output", str(tmp_path), "--device", "cpu"]
    assert main(words) == 2
    assert "holds a report already; choose another folder, or --overwrite" in capsys.readouterr().err
    assert calls == []
    assert main([*words, "--overwrite"]) == 0


def test_a_calibration_that_could_not_be_written_is_refused_before_the_work(calls, fake_bundle, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != fake_bundle / "models")
    assert main(["calibrate", str(fake_bundle), "d.json", "--device", "cpu"]) == 2
    assert "models: cannot be written to, where the calibration belongs; copy" in capsys.readouterr().err
    assert calls == []


def test_a_calibration_is_kept_unless_overwrite_is_given(capsys):
    """The shipped one, too, which a checkout tracks."""
    assert main(["calibrate", "cascade", "d.json", "--device", "cpu"]) == 2
    assert "calibration.json: exists already; --overwrite replaces it" in capsys.readouterr().err
    assert main(["calibrate", "cascade", "d.json", "--device", "cpu", "--overwrite"]) == 2
    assert "d.json" in capsys.readouterr().err


def test_wrong_distances_are_one_line(calls, capsys):
    assert main(["evaluate", "cascade", "d.json", "--sdr", "1,x"]) == 2
    assert capsys.readouterr().err.startswith("lmk3d: error: argument --sdr: 'x' is no number above 0")


def test_tune_hands_over_ranges_and_goals(fake_bundle, trusts, tmp_path, monkeypatch, capsys):
    seen, module = [], ModuleType("lmk3d.configure.tune")
    module.Range = lambda *numbers: numbers
    module.tune = lambda *words, **options: seen.append((words, options))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    out = tmp_path / "out"
    words = ["tune", str(fake_bundle), "--output", str(out), "--search", "a#b=0.1:1:log", "--search", "c=1:2"]
    words_of_goals = [*words, "--most", "mean_dice", "--trials", "3", "--set", "epochs=2"]
    assert main(words_of_goals) == 2
    assert "holds code; give --trust" in capsys.readouterr().err
    assert trusts == [fake_bundle]
    assert main([*words_of_goals, "--trust"]) == 0
    ((bundle, folder, search), options) = seen[0]
    assert (bundle, folder) == (fake_bundle, out)
    assert search == {"a#b": (0.1, 1.0, True), "c": (1.0, 2.0, False)}
    assert options == {"least": ["mean_error_mm"], "most": ["mean_dice"], "trials": 3, "overrides": {"epochs": 2},
                       "seed": 0}  # fmt: skip
    out.mkdir()
    (out / "trials.csv").write_text("", encoding="utf-8")
    assert main(words) == 2
    assert "holds a search already" in capsys.readouterr().err
    assert main([*words[:-1], "c=2:1"]) == 2
    assert "'c=2:1': 2 is not below 1" in capsys.readouterr().err
    assert main([*words[:-1], "c=1:2:lin"]) == 2
    assert "write KEY=LOW:HIGH or KEY=LOW:HIGH:log" in capsys.readouterr().err
