"""The growth table's figures on tiny films."""

import runpy
from pathlib import Path

import pytest
import torch

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "growth.py"))


@pytest.mark.parametrize("method", TOOL["METHODS"])
def test_each_method_steps_and_predicts(method):
    objective, batch, predict = TOOL["parts"](method, 45, (64, 48, 1))
    losses = objective(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert predict().points_vox.shape[0] == 45


def test_contours_hold_every_landmark_once():
    for count in (5, 68, 720):
        members = [name for one in TOOL["contours"](count).values() for name in one]
        assert members == [str(row) for row in range(count)]
    assert len(TOOL["contours"](720)) == 18
