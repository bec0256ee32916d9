"""A search of weights."""

import csv
import sys

import numpy as np
import pytest

from lmk3d.configure import tune as room
from lmk3d.configure.tune import Range, pareto_front, tune
from lmk3d.errors import InputError


@pytest.fixture
def trained(monkeypatch):
    """Trainings that end at once, with an error and a Dice that pull the weight two ways."""
    pytest.importorskip("optuna")
    asked = []

    def run(bundle, changes):
        asked.append(changes)
        weight = changes["objective#first#uv"]
        return {"mean_error_mm": (weight - 0.8) ** 2, "mean_dice": -((weight - 0.2) ** 2), "seldom": float("nan")}

    monkeypatch.setattr(room, "_trained", run)
    monkeypatch.setattr(room, "parsed", lambda bundle, changes: None)
    return asked


def test_a_search_finds_the_weight_and_writes_table_and_picture(trained, tmp_path):
    done = tune(tmp_path / "bundle", tmp_path / "out", {"objective#first#uv": Range(0.1, 1.0)}, trials=25,
                overrides={"epochs": 2})  # fmt: skip
    assert len(done) == len(trained) == 25
    assert all(changes["epochs"] == 2 for changes in trained)
    assert len({changes["bundle_root"] for changes in trained}) == 25
    best = min(done, key=lambda trial: trial.goals["mean_error_mm"])
    assert abs(best.values["objective#first#uv"] - 0.8) < 0.05
    rows = list(csv.DictReader((tmp_path / "out" / "trials.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["trial"] for row in rows if row["pareto"]] == [str(best.number)]
    assert (tmp_path / "out" / "pareto.png").stat().st_size > 5000


def test_two_goals_have_a_front_between_their_optima(trained, tmp_path):
    search = {"objective#first#uv": Range(0.01, 1.0, log=True)}
    done = tune(tmp_path / "bundle", tmp_path / "out", search, most=["mean_dice"], trials=20)
    costs = [[trial.goals["mean_error_mm"], -trial.goals["mean_dice"]] for trial in done]
    weights = np.array([trial.values["objective#first#uv"] for trial in done])
    front = pareto_front(costs)
    between = (weights >= 0.2) & (weights <= 0.8)
    assert (front[between]).all()  # all trade one for the other
    assert front.sum() <= between.sum() + 2


def test_a_goal_that_is_never_known_is_the_worst(trained, tmp_path):
    done = tune(tmp_path / "b", tmp_path / "out", {"objective#first#uv": Range(0.1, 1)}, least=["seldom"], trials=2)
    assert np.isnan([trial.goals["seldom"] for trial in done]).all()
    assert not pareto_front([[np.nan], [np.nan]]).any()


def test_a_front_by_hand():
    assert pareto_front([[1, 4], [2, 2], [3, 3], [4, 1], [4, 4], [np.nan, 0]]).tolist() == [True, True, *[False], True,
                                                                                       False, False]  # fmt: skip


def test_what_cannot_be_searched_is_refused(trained, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="nothing to search; give --search KEY=LOW:HIGH"):
        tune(tmp_path, tmp_path / "out", {})
    search = {"objective#first#uv": Range(0.1, 1)}
    with pytest.raises(InputError, match="the validation has no 'most_dice'; it has mean_dice, mean_error_mm, seldom"):
        tune(tmp_path, tmp_path / "out", search, most=["most_dice"])
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"needs Optuna, which is not installed; run pip install 'lmk3d\[tune\]'"):
        tune(tmp_path, tmp_path / "out", search)
