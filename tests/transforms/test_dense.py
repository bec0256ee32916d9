"""Dense targets in the training's pipeline."""

import numpy as np
import torch
from torch.testing import assert_close

from lmk3d.codecs import DenseCodec, ShapeModel
from lmk3d.transforms import EncodeDensed


def test_targets_are_drawn_on_the_maps_grid():
    codec, model = DenseCodec(tuple("abc"), {"one": list("abc")}), ShapeModel(np.diag([4.0, 2, 0]), np.eye(9))
    points = torch.tensor([[2.0, 2, 0], [9, 3, 0], [5, 10, 0]])
    sample = {"points_vox": points, "input": torch.zeros(1, 24, 32, 1)}
    out = EncodeDensed("points_vox", codec, model, stride=2)(sample)
    expected = codec.draw(points.numpy(), (12, 16, 1), model.mean_mm)
    assert_close(out["target"], expected, equal_nan=True)
    assert_close(out["template_uv"], torch.tensor([[1.0, -1], [-1, 1], [-1, -1]]))
