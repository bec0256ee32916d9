"""Weights from files and devices; what is wrong with a checkpoint is tested with the bundle in test_inference."""

import pytest
import torch
from torch import nn

from lmk3d.errors import InputError
from lmk3d.networks import Cascade
from lmk3d.weights import begun_with, find_device, load_weights, quick_bfloat16


def test_a_folder_in_place_of_weights_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_weights(nn.Linear(2, 2), tmp_path)


def test_a_training_may_begin_with_the_weights_of_another(tmp_path):
    old, new = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save(old.state_dict(), tmp_path / "model.pt")
    assert begun_with(new, "") is new
    assert not torch.equal(new.weight, old.weight)
    assert begun_with(new, str(tmp_path / "model.pt")) is new
    assert torch.equal(new.weight, old.weight)
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        begun_with(new, str(tmp_path / "none.pt"))


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False)])
def test_what_training_learns_anew_need_not_fit(tmp_path, before, after):
    old, new = (Cascade(nn.Conv3d(1, 2, 1), [], num_landmarks=2, tree=tree) for tree in (before, after))
    torch.save(old.state_dict(), tmp_path / "model.pt")
    assert torch.equal(begun_with(new, str(tmp_path / "model.pt")).heatmap.weight, old.heatmap.weight)
    with pytest.raises(InputError, match="does not fit the network"):  # for prediction it must
        load_weights(new, tmp_path / "model.pt")
    other = Cascade(nn.Conv3d(1, 3, 1), [], num_landmarks=3, tree=after)
    with pytest.raises(InputError, match="does not fit the network"):
        begun_with(other, str(tmp_path / "model.pt"))


@pytest.mark.parametrize(
    ("name", "count", "text"),
    [
        ("coda", 0, "unknown device 'coda'; use cpu, cuda, cuda:1 or mps"),
        ("xla", 0, "unknown device 'xla'; use cpu, cuda, cuda:1 or mps"),
        ("cuda", 0, r"device 'cuda' is not there \(0 CUDA devices found\); use cpu"),
        ("cuda:2", 2, r"device 'cuda:2' is not there \(2 CUDA devices found\); use cpu"),
        ("mps", 0, r"device 'mps' is not there \(0 CUDA devices found\); use cpu"),
    ],
)
def test_devices_that_are_not_there_are_named(monkeypatch, name, count, text):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=text):
        find_device(name)
    assert find_device("cpu") == torch.device("cpu")
    if count:
        assert find_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(("device", "quick"), [("cpu", True), ("cuda", False)])
def test_half_precision_is_for_processors_that_compute_in_it(monkeypatch, device, quick):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert quick_bfloat16(torch.device(device)) is quick
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert quick_bfloat16(torch.device(device)) is False
