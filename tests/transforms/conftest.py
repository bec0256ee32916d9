"""Blobs drawn at landmarks, and where they are found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lmk3d.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BLOB_MM = 2.0


def blob(grid: Grid, point_mm: Sequence[float], *, sigma_mm: float = BLOB_MM) -> torch.Tensor:
    """(I, J, K) a Gaussian at a world point, drawn voxel by voxel from world distances."""
    i, j, k = (np.arange(side)[:, None] for side in grid.shape)
    matrix, offset = grid.affine[:3, :3], grid.affine[:3, 3] - np.asarray(point_mm)
    steps = (i * matrix[:, 0])[:, None, None] + (j * matrix[:, 1])[:, None] + (k * matrix[:, 2] + offset)
    square = np.einsum("ijkx,ijkx->ijk", steps, steps)
    return torch.as_tensor(np.exp(-square / (2 * sigma_mm**2)), dtype=torch.float32)


def centroid(image: torch.Tensor) -> np.ndarray:
    """(3,) mean voxel index of an image, read as mass."""
    weights = torch.as_tensor(image).double().reshape(image.shape[-3:]).numpy()
    sums = [weights.sum((1, 2)), weights.sum((0, 2)), weights.sum((0, 1))]
    return np.array([line @ np.arange(len(line)) for line in sums]) / weights.sum()


def sample(grid: Grid, data: torch.Tensor, points_mm: Any) -> dict[Any, Any]:
    """A case as ``LoadCased`` hands it on."""
    image = MetaTensor(data[None], affine=torch.as_tensor(grid.affine.copy()))
    return {"image": image, "label": np.array(points_mm, dtype=np.float64).reshape(-1, 3)}


@pytest.fixture(scope="session")
def draw_blob() -> Callable[..., torch.Tensor]:
    return blob


@pytest.fixture(scope="session")
def find_blob() -> Callable[[torch.Tensor], np.ndarray]:
    return centroid


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., dict[Any, Any]]:
    return sample
