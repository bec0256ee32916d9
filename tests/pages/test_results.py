"""What an evaluation and a training leave, read back."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.errors import InputError
from lmk3d.pages.results import read_results


def test_a_bundle_brings_its_own_evaluation(results, trained):
    evaluation, training = read_results([trained])
    assert evaluation.summary.about["dataset"] == "tiny"
    assert training.settings == {"epochs": 4, "learning_rate": 0.01, "spacing_mm": 1.5}
    assert_allclose(training.loss["train_loss"], [[1, 2, 3], [5, 4, 2.5]])  # the resumed run's word counts
    assert_allclose(training.validation["mean_error_mm"], [[2, 4], [6, 3]])
    assert dict(training.data)["images"] == "4 training, 2 validation"
    assert dict(training.data)["points"].startswith("6 of 6: left")


def test_another_evaluation_goes_before_it(results, trained):
    evaluation, _ = read_results([trained, results])
    assert evaluation.summary.about["detector"] == "predicted"
    assert read_results([results])[1] is None


def test_the_worst_points_come_first_with_what_was_missed(results):
    (evaluation, _) = read_results([results])
    assert [row["status"] for row in evaluation.worst[:2]] == ["missed", "found"]
    errors = [float(row["error"]) for row in evaluation.worst[1:]]
    assert errors == sorted(errors, reverse=True)
    assert np.isnan(np.concatenate(list(evaluation.errors["result"].values()))).sum() == 1
    assert evaluation.pictures[0].title.startswith("4, right: 4.00 mm apart")


def test_folders_that_hold_nothing_or_the_same_twice_are_refused(results, trained, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_results([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="holds no results; give the folder"):
        read_results([tmp_path])
    with pytest.raises(InputError, match=r"holds an evaluation as .* does"):
        read_results([results, results])
    with pytest.raises(InputError, match=r"holds a training as .* does"):
        read_results([trained, trained])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("summary.json", "{}"),
        ("errors.csv", "set,landmark,error_mm\nresult,a,far\n"),
        ("errors.csv", "set,landmark,error_mm\nresult," + "a" * 200_000 + ",1\n"),
        ("points.csv", "a,b\n1,2\n"),
        ("points.csv", "case,landmark,status,error_mm,confidence,expected_error_mm\na,b,found,1,0.nan9,\n"),
        ("points.csv", "case\n" + "a" * 200_000 + "\n"),
    ],
)
def test_damaged_files_are_named(name, text, results, tmp_path):
    for path in results.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read_results([tmp_path])


def test_a_damaged_training_is_named(tmp_path):
    (tmp_path / "train.json").write_text("[", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.json: cannot be read"):
        read_results([tmp_path])
    (tmp_path / "train.json").write_text("{}", encoding="utf-8")
    (tmp_path / "fingerprint.json").write_text(json.dumps({"name": "x"}), encoding="utf-8")
    with pytest.raises(InputError, match=r"fingerprint\.json: is no fingerprint"):
        read_results([tmp_path])
