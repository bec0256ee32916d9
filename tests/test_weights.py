"""Weights from files and devices; what is wrong with a checkpoint is tested with the bundle in test_inference."""

import zipfile

import pytest
import torch
from torch import nn

from lmk3d.components import default_bundle
from lmk3d.errors import InputError
from lmk3d.networks import Cascade
from lmk3d.weights import begun_with, find_device, load_weights, modest_networks, quick_bfloat16


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


@pytest.mark.parametrize("stored", [3.0, float("nan"), float("inf")])  # 3: what earlier versions began with
def test_a_network_that_no_validation_has_calibrated_expects_no_error(tmp_path, stored):
    network = Cascade(nn.Conv3d(1, 2, 1), [], num_landmarks=2)
    state = network.state_dict() | {"error_ratio": torch.tensor(stored, dtype=torch.float64)}
    torch.save(state, tmp_path / "model.pt")
    network.error_ratio.fill_(1.0)
    load_weights(network, tmp_path / "model.pt")
    assert torch.isnan(network.error_ratio)
    torch.save(state | {"error_ratio": torch.tensor(2.5, dtype=torch.float64)}, tmp_path / "model.pt")
    load_weights(network, tmp_path / "model.pt")
    assert float(network.error_ratio) == 2.5


def test_the_shipped_weights_are_calibrated():
    state = torch.load(default_bundle("cascade") / "models" / "model.pt", weights_only=True)
    assert 0 < float(state["error_ratio"]) < 20
    assert float(state["error_ratio"]) != 3.0


def sparse(value):
    return value.to_sparse()


def quantized(value):
    return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning", "ignore:.*quantiz:DeprecationWarning")
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda value: None, "holds no weights"),
        (lambda value: 3.0, "holds no weights"),
        (sparse, "holds more than plain tensors; give a checkpoint of tensors"),
        (quantized, "holds more than plain tensors"),
        (lambda value: value.to("meta"), "holds more than plain tensors"),
        (lambda value: value.to(torch.float8_e4m3fn), r"holds more than plain|is float8"),
        (torch.Tensor.long, r"weight is int64 \[2, 2\], the network's float32 \[2, 2\]"),
        (torch.Tensor.bool, "weight is bool"),
        (lambda value: 1e300 * value.double(), "NaN or infinite"),
        (lambda value: value.to(torch.complex64), "weight is complex64"),
        (lambda value: value[:, :1], r"weight is float32 \[2, 1\], the network's float32 \[2, 2\]"),
        (lambda value: torch.zeros(1).expand(100_000, 1_000_000), r"float32 \[100000, 1000000\]"),
        (lambda value: value * float("nan"), "NaN or infinite"),
        (lambda value: value / 0, "NaN or infinite"),
    ],
)
def test_damaged_weights_are_refused_in_one_line(tmp_path, spoil, text):
    network = nn.Linear(2, 2)
    state = network.state_dict()
    torch.save({**state, "weight": spoil(state["weight"])}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=text) as raised:
        load_weights(network, tmp_path / "model.pt")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_kept_in_another_precision_are_taken(tmp_path, dtype):
    network = nn.Linear(2, 2)
    torch.save({"weight": torch.eye(2, dtype=dtype), "bias": torch.ones(2, dtype=dtype)}, tmp_path / "model.pt")
    load_weights(network, tmp_path / "model.pt")
    assert torch.equal(network.weight.data, torch.eye(2))


def test_an_archive_that_unpacks_to_more_than_it_holds_is_not_read(tmp_path):
    torch.save({"weight": torch.zeros(5_000_000)}, tmp_path / "large.pt")
    with zipfile.ZipFile(tmp_path / "large.pt") as plain, zipfile.ZipFile(tmp_path / "model.pt", "w") as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "model.pt").stat().st_size < 100_000
    with pytest.raises(InputError, match="is corrupt, or no checkpoint at all"):
        load_weights(nn.Linear(2, 2), tmp_path / "model.pt")


def with_pickle(path, content):
    """A checkpoint whose description of its tensors is another."""
    torch.save({"weight": torch.zeros(2)}, path)
    with zipfile.ZipFile(path) as plain:
        members = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in members.items():
            archive.writestr(name, content if name.endswith("data.pkl") else value)


# A tuple of two of the last, and so on: as a key of a dictionary it is hashed 2^60 times.
NESTED = b"K\x01K\x02\x86q\x00" + b"".join(b"h%ch%c\x86q%c" % (row, row, row + 1) for row in range(60))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"}" + NESTED + b"K\x01s.", "is corrupt, or no checkpoint at all"),
        (b"}" + NESTED.replace(b"\x86q", b"\x86(uq") + b"K\x01s.", "is corrupt, or no checkpoint at all"),
        (b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "holds pickled code"),
        (b"ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85R.", "holds more than plain tensors"),
        (b"ctorch.storage\nUntypedStorage\nJ\xff\xff\xff\x7f\x85R.", "holds more than plain tensors"),
        (b"ctorch\nUntypedStorage\nJ\xff\xff\xff\x7f\x85R.", "holds more than plain tensors"),
        (b"(" * 2**22 + b".", "is corrupt, or no checkpoint at all"),
    ],
)
def test_descriptions_that_take_hours_or_gigabytes_are_refused(tmp_path, content, text):
    with_pickle(tmp_path / "model.pt", b"\x80\x02" + content)
    with pytest.raises(InputError, match=text):
        load_weights(nn.Linear(2, 2), tmp_path / "model.pt")


def test_storages_that_say_a_size_that_is_not_theirs_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(16)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as plain:
        (content,) = (plain.read(name) for name in plain.namelist() if name.endswith("data.pkl"))
    assert b"K\x10" in content
    with_pickle(tmp_path / "model.pt", content.replace(b"K\x10", b"J\xff\xff\xff\x0f"))
    with pytest.raises(InputError, match="is corrupt, or no checkpoint at all"):
        load_weights(nn.Linear(2, 2), tmp_path / "model.pt")


def test_a_network_too_large_for_any_bundle_is_refused_before_it_takes_memory():
    with modest_networks():
        assert nn.Linear(3, 3).weight.shape == (3, 3)
        with pytest.raises(InputError, match="the network is too large at 'weight'"):
            nn.Linear(2**14, 2**14)
    with modest_networks(), pytest.raises(InputError, match="the network is too large"):
        nn.ModuleList(nn.Linear(1, 1) for _ in range(10**9))
    assert nn.Linear(3, 3).weight.shape == (3, 3)


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
    assert quick_bfloat16(torch.device(device)) is quick_bfloat16(device) is quick
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert quick_bfloat16(torch.device(device)) is False
