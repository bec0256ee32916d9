from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from lmk3d.cli.options import bundle_folder, duration_s, formats, nearest, override, positive, share, use_device
from lmk3d.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("1m30s", 90)]
)
def test_durations_have_units(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "-5m", "1d", "1..5h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ArgumentTypeError, match=r"is no duration; write for example 90s, 30m, 2h or 1h30m"):
        duration_s(text)


def test_no_time_at_all_is_refused():
    with pytest.raises(ArgumentTypeError, match="is no time at all"):
        duration_s("0m")


def test_formats_are_listed_once_and_may_begin_with_a_point():
    assert formats("mrk.json,.fcsv, csv,csv") == ("mrk.json", "fcsv", "csv")


def test_unknown_format_names_the_nearest():
    with pytest.raises(ArgumentTypeError, match=r"unknown format 'fscv', did you mean 'fcsv'\?; use mrk\.json, fcsv"):
        formats("csv,fscv")


def test_positive_takes_numbers_above_zero():
    assert positive("0.15") == 0.15
    for text in ("0", "-1", "nan", "inf", "wide"):
        with pytest.raises(ArgumentTypeError, match="is no number above 0"):
            positive(text)


def test_a_share_lies_between_0_and_1():
    assert share("0.9") == 0.9
    for text in ("0", "1", "90", "-0.5", "nan", "most"):
        with pytest.raises(ArgumentTypeError, match=r"is no share between 0 and 1; write for example 0\.9 for 90 %"):
            share(text)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("epochs=3", ("epochs", 3)),
        ("net#widths=[8, 16]", ("net#widths", [8, 16])),
        ("name=a=b", ("name", "a=b")),
        ("amp=true", ("amp", True)),
    ],
)
def test_overrides_are_json_or_text(text, entry):
    assert override(text) == entry


@pytest.mark.parametrize("text", ["epochs", "=3"])
def test_override_without_key_or_value_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="sets nothing; write KEY=VALUE"):
        override(text)


def test_cpu_is_itself_and_unknown_devices_are_refused():
    assert use_device("cpu") == "cpu"
    with pytest.raises(InputError, match=r"unknown device 'coda', did you mean 'cuda'\?; use cpu, cuda or cuda:1"):
        use_device("coda")


def test_device_that_is_not_there_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert use_device("auto") == "cuda"
    assert use_device("cuda:0") == "cuda:0"
    with pytest.raises(InputError, match=r"device 'cuda:1' is not there \(1 CUDA device found\); use cpu"):
        use_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert use_device("mps") == "mps"
    assert use_device("auto") == "cpu"
    with pytest.raises(InputError, match="device 'cuda' is not there"):
        use_device("cuda")


def test_bundle_is_a_folder_or_the_name_of_a_shipped_one(fake_bundle):
    assert bundle_folder(str(fake_bundle)) == fake_bundle
    assert bundle_folder("cascade") == fake_bundle
    with pytest.raises(InputError, match=r"no bundle 'cascad'"):
        bundle_folder("cascad")


def test_wrong_path_of_a_bundle_names_the_nearest(fake_bundle):
    with pytest.raises(InputError, match=r"faek: no such bundle folder, did you mean 'fake'\?"):
        bundle_folder(str(fake_bundle.with_name("faek")))
    with pytest.raises(InputError, match=r"model\.pt: is a file; give the folder of the bundle"):
        bundle_folder(str(fake_bundle / "models" / "model.pt"))


def test_nearest_says_nothing_where_nothing_is_near():
    assert nearest("xyz", ("demo", "check")) == ""
