from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from lmk3d.apps.bone_age import BoneAgeModel
from lmk3d.io import read_points

TOOL = Path(__file__).parents[2] / "tools" / "bone_age.py"


def test_tool_trains_and_prints_scores(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("bone_age_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    words = [str(tmp_path / "ages"), "--hands", "24", "--tests", "4", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["bone_age", *words])
    module.main()
    out = capsys.readouterr().out
    assert "24 hands, 1 epochs" in out
    assert "mean of the classes  MAE" in out
    hand = read_points(tmp_path / "ages" / "hand.mrk.json")
    assert BoneAgeModel.load(tmp_path / "ages" / "bone_age.pt").read(hand).months > 0
