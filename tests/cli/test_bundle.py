from __future__ import annotations

import shutil
from pathlib import Path

from lmk3d.cli import main

BUNDLES = Path(__file__).parent.parent.parent / "bundles"


def test_an_exported_bundle_has_no_problems(tmp_path, capsys):
    assert main(["bundle", "export", "cascade", str(tmp_path / "zoo")]) == 0
    assert f"wrote 11 files to {tmp_path / 'zoo'}" in capsys.readouterr().out
    assert main(["bundle", "verify", str(tmp_path / "zoo")]) == 0
    assert capsys.readouterr().out == "no problems\n"


def test_problems_are_listed_and_counted(tmp_path, capsys):
    source = shutil.copytree(BUNDLES / "denseseg", tmp_path / "mine", ignore=shutil.ignore_patterns("*.pt", "LICENSE"))
    assert main(["bundle", "export", str(source), str(tmp_path / "zoo")]) == 0
    assert "has no weights yet" in capsys.readouterr().out
    assert main(["bundle", "verify", str(tmp_path / "zoo")]) == 2
    said = capsys.readouterr()
    assert said.out.count("problem     ") == 2
    assert said.err.startswith(f"lmk3d: error: {tmp_path / 'zoo'}: 2 problems")


def test_wrong_input_is_one_line(tmp_path, capsys):
    for words in (["export", "cascde", str(tmp_path / "zoo")], ["export", "cascade", str(tmp_path)], ["verify", "no"]):
        assert main(["bundle", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["bundle"]) == 2
