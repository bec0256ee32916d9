from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmk3d.errors import InputError
from lmk3d.io import atomic_path, refuse_existing
from lmk3d.io.atomic import clear_parts, part_folder


def test_file_appears_when_the_block_ends(tmp_path):
    with atomic_path(tmp_path / "a.txt") as path:
        path.write_text("new", encoding="utf-8")
        assert path.name == "a.txt"
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_error_or_interrupt_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a.txt").write_text("old", encoding="utf-8")

    def write():
        with atomic_path(str(tmp_path / "a.txt")) as path:
            path.write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(error):
        write()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    def write():
        with atomic_path(tmp_path / "a.txt") as path:
            path.write_text("half", encoding="utf-8")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"a\.txt: cannot be written \(No space left on device\); free some space"):
        write()
    assert not list(tmp_path.iterdir())


def test_other_errors_of_the_block_stay_themselves(tmp_path):
    def write():
        with atomic_path(tmp_path / "a.txt"):
            (tmp_path / "nowhere").read_bytes()

    with pytest.raises(FileNotFoundError, match="nowhere"):
        write()


def test_folder_that_is_missing_or_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for parent in ("nowhere", "file"):
        with pytest.raises(InputError, match=r"a\.txt: cannot be written .*choose a folder"):
            atomic_path(tmp_path / parent / "a.txt").__enter__()


def test_target_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("", encoding="utf-8")

    def write():
        with atomic_path(tmp_path / "a") as path:
            path.write_text("", encoding="utf-8")

    with pytest.raises(InputError, match="a: cannot be replaced"):
        write()


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path, make_link):
    (tmp_path / "deep").mkdir()
    real, link = tmp_path / "deep" / "real.txt", tmp_path / "link.csv"
    real.write_text("old", encoding="utf-8")
    make_link(link, real)
    with atomic_path(link) as path:
        assert path.name == "link.csv"  # writers choose the format by the name
        path.write_text("new", encoding="utf-8")
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "new"


def test_block_that_writes_nothing_is_a_mistake_of_the_program(tmp_path):
    with pytest.raises(FileNotFoundError, match="wrote nothing"), atomic_path(tmp_path / "a.txt"):
        pass


def test_what_exists_is_refused_before_anything_is_computed(tmp_path):
    there = tmp_path / "points.csv"
    there.touch()
    with pytest.raises(InputError, match=r"points\.csv: exists already; choose another place, or --overwrite"):
        refuse_existing([tmp_path / "new.csv", there], overwrite=False)
    refuse_existing([there], overwrite=True)
    refuse_existing([tmp_path / "new.csv"], overwrite=False)


def left_by(folder, host, process, *, age_s=0.0):
    path = folder / f".{host}-{process}-abcd1234.part"
    path.mkdir()
    (path / "half.json").write_text("{", encoding="utf-8")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no process can be asked for by its number")
def test_what_a_killed_run_left_is_cleared(tmp_path):
    code = "import sys, os, signal; from pathlib import Path; from lmk3d.io.atomic import part_folder\n"
    code += "print(part_folder(Path(sys.argv[1]))); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    left = Path(run.stdout.strip())
    assert run.returncode == -9
    assert left.is_dir()
    mine = part_folder(tmp_path)
    clear_parts(tmp_path)
    assert not left.exists()
    assert mine.is_dir()


def test_what_may_belong_to_a_run_that_is_alive_stays_for_a_day(tmp_path):
    elsewhere, old = left_by(tmp_path, "elsewhere", 1), left_by(tmp_path, "elsewhere", 2, age_s=100_000)
    alive = part_folder(tmp_path)
    users = tmp_path / ".mine.part"
    users.mkdir()
    clear_parts(tmp_path)
    assert elsewhere.is_dir()
    assert not old.exists()
    assert alive.is_dir()
    assert users.is_dir()
