from __future__ import annotations

import importlib.util
import os
import random
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("resource")  # Windows has none

from lmk3d.errors import InputError

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def fuzz():
    """The module, as the command line sees it."""
    names = ("specimens", "fuzz")
    before = set(sys.modules)
    for name in names:
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    yield sys.modules["fuzz"]
    for name in {*names} - before:
        del sys.modules[name]


@pytest.fixture
def specimen(fuzz, tmp_path):
    """Makes a specimen that is read by a given function."""

    def make(read):
        folder = tmp_path / "whole"
        folder.mkdir()
        (folder / "a.bin").write_bytes(bytes(range(200)))
        return fuzz.Specimen("odd", folder, ("a.bin",), read)

    return make


def outcomes(fuzz, specimen, scratch, count=3, seconds=20, megabytes=1024):
    found = fuzz.watch(specimen, list(range(count)), scratch, seconds=seconds, megabytes=megabytes)
    return [outcome for outcome, _ in found]


def damaged(folder):
    return (folder / "a.bin").read_bytes() != bytes(range(200))


def test_the_projects_own_error_is_a_refusal_and_no_fault(fuzz, specimen, tmp_path):
    def read(folder):
        if damaged(folder):
            raise InputError(f"{folder}: is damaged")

    assert set(outcomes(fuzz, specimen(read), tmp_path)) == {"refused"}


def test_a_message_of_several_lines_is_a_fault(fuzz, specimen, tmp_path):
    def read(folder):
        if damaged(folder):
            raise InputError(f"{folder}:\nis damaged")

    assert set(outcomes(fuzz, specimen(read), tmp_path)) == {"foreign"}


def test_another_exception_is_a_fault(fuzz, specimen, tmp_path):
    def read(folder):
        if damaged(folder):
            raise KeyError("size")

    assert set(outcomes(fuzz, specimen(read), tmp_path)) == {"foreign"}


def test_a_process_that_dies_is_told_and_the_next_file_is_tried(fuzz, specimen, tmp_path):
    def read(folder):
        if damaged(folder):
            os._exit(3)

    assert outcomes(fuzz, specimen(read), tmp_path) == ["dead"] * 3


def test_a_process_that_hangs_is_ended_and_the_next_file_is_tried(fuzz, specimen, tmp_path):
    def read(folder):
        if damaged(folder):
            time.sleep(60)

    assert outcomes(fuzz, specimen(read), tmp_path, count=2, seconds=0.5) == ["slow"] * 2


def test_memory_beyond_the_bound_is_a_fault(fuzz, specimen, tmp_path):
    def read(folder):
        return len(b"1" * 300_000_000) if damaged(folder) else 0

    assert outcomes(fuzz, specimen(read), tmp_path, count=1, megabytes=100) == ["large"]


@pytest.mark.parametrize("name", ["a.bin", "a.json", "a.fcsv"])
def test_damage_is_the_same_for_the_same_seed(fuzz, name):
    content = b'{"names": ["a", "b"], "spacing": [1, 2.5]}'
    first, second = (fuzz.damage(content, name, random.Random(5)) for _ in range(2))
    assert first == second
    assert len({fuzz.damage(content, name, random.Random(seed)) for seed in range(20)}) > 15


def test_no_damage_to_any_kind_of_file_ends_in_anything_but_the_projects_error(fuzz, capsys):
    assert fuzz.main(["--count", "500", "--seed", "90000"]) == 0, capsys.readouterr().out
    table = capsys.readouterr().out
    assert table.splitlines()[-1].split()[-4:] == ["0"] * 4
