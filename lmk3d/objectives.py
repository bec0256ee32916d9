"""First stages' objectives: what each published method asks of its maps, as named losses of one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lmk3d.losses import (
    balanced_cross_entropy,
    coordinate_loss,
    map_cross_entropy,
    map_mse,
    spatial_cross_entropy,
    total_variation,
    uv_distance,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmk3d.codecs import DenseCodec, HeatmapCodec

__all__ = ["CoordinateObjective", "DenseObjective", "FirstObjective", "MapObjective"]

FirstObjective = Callable[[nn.Module, Mapping[str, Tensor]], dict[str, Tensor]]
"""From the first stage's network and a batch to losses by name, which are added up."""


class MapObjective:
    """Gaussian targets, drawn on the grid of each output.

    Args:
        codec: draws the targets; its reading says what the maps are.
        loss: "mse" (sum of squared differences), "bce" (binary cross entropy of logits), or "softmax" (the cascade's
            cross entropy over all places).
        foreground: of "mse", see ``losses.map_mse``.
        side_weights: of the network's side outputs, deep to shallow; without any they are not asked for.
        missing: as in ``CascadeObjective``.
    Raises:
        ValueError: for another loss or meaning of missing.
    Source:
        Appearance-context network 2021 ("sum of squared differences"); LandmarkNet 2020, "intermediate supervision": a
        target at each level's own resolution, whose Gaussian is narrower by the same factor but never under a voxel.
    """

    def __init__(
        self,
        codec: HeatmapCodec,
        *,
        loss: str = "mse",
        foreground: float = 0.0,
        side_weights: Sequence[float] = (),
        missing: str = "unknown",
    ) -> None:
        if loss not in ("mse", "bce", "softmax"):
            raise ValueError(f"loss must be 'mse', 'bce' or 'softmax', got {loss!r}")
        if missing not in ("unknown", "absent"):
            raise ValueError(f"missing must be 'unknown' or 'absent', got {missing!r}")
        self.codec, self.loss, self.foreground = codec, loss, foreground
        self.side_weights, self.missing = tuple(side_weights), missing

    def __call__(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss "heatmap", and "sides" where they are weighed."""
        image, points = batch["input"], batch["points_vox"]
        if not self.side_weights:
            return {"heatmap": self.compare(network(image), points)}
        outputs: list[Tensor] = network.with_sides(image)  # type: ignore[operator]
        if len(outputs) != len(self.side_weights) + 1:
            raise ValueError(f"side_weights must name {len(outputs) - 1}, one a side, got {len(self.side_weights)}")
        finest = torch.tensor(outputs[-1].shape[2:], device=points.device)
        sides = points.new_zeros(())
        for weight, output in zip(self.side_weights, outputs[:-1], strict=True):
            factor = finest / torch.tensor(output.shape[2:], device=points.device)
            coarse = (points + 0.5) / factor - 0.5
            sides = sides + weight * self.compare(output, coarse, narrower=float(factor.max()))
        return {"heatmap": self.compare(outputs[-1], points), "sides": sides}

    def compare(self, maps: Tensor, points_vox: Tensor, *, narrower: float = 1.0) -> Tensor:
        """The loss of maps (B, N, I, J, K) for points (B, N, 3) or (B, N, M, 3) on their grid."""
        codec = self.codec.narrowed(narrower)
        i, j, k = maps.shape[2:]
        with torch.autocast(maps.device.type, enabled=False):
            known = None
            if self.missing == "unknown":
                known = ~points_vox.isnan().any(-1)
                known = known.any(-1) if known.ndim == 3 else known
            if self.loss == "softmax":
                return spatial_cross_entropy(maps, points_vox, codec.sigma_vox, known=known)
            target = torch.stack([codec.draw(points.float(), (i, j, k)) for points in points_vox])
            wide = sum(side > 1 for side in (i, j, k))
            if self.loss == "bce":
                return map_cross_entropy(maps, target, codec.peak * (2.507 * codec.sigma_vox) ** wide, known=known)
            scale = codec.peak**2 * (1.772 * codec.sigma_vox) ** wide  # sqrt(pi) sigma along each axis
            return map_mse(maps, target, scale, foreground=self.foreground, known=known)


class CoordinateObjective:
    """Maps and points of ``HeatmapCoordinateNet``, each by its own loss, as both are trained apart in the paper.

    Args:
        maps: of the U-Net's logits; binary cross entropy in the paper.
        weight: of the points' loss.
    Source:
        Heatmap x coordinate regression 2021, secs. 3.2 and 3.3: two networks, multiplied only afterwards.
    """

    def __init__(self, maps: MapObjective, *, weight: float = 1.0) -> None:
        self.maps, self.weight = maps, weight

    def __call__(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses "heatmap" and "coordinates"."""
        logits, points = network.with_points(batch["input"])  # type: ignore[operator]
        truth = batch["points_vox"]
        sides = torch.tensor(logits.shape[2:], device=truth.device)
        own: Any = getattr(network, "network", network)  # behind FlatDepth
        sigma = own.log_sigma() if own.learnt else None
        coordinates = coordinate_loss(points, (truth + 0.5) / sides, sigma)
        return {"heatmap": self.maps.compare(logits, truth), "coordinates": self.weight * coordinates}


class DenseObjective:
    """DenseSeg's weighted sum over masks and uv maps.

    Args:
        codec: whose targets the batch holds under "target".
        mask, uv, smooth: weights of the masks' cross entropy, of both uv terms together, of the total variation.
    Source:
        DenseSeg 2024, eq. 4; the weights 0.13, 0.66 and 0.2 are its search's.
    """

    def __init__(self, codec: DenseCodec, *, mask: float = 0.13, uv: float = 0.66, smooth: float = 0.2) -> None:
        self.codec, self.mask, self.uv, self.smooth = codec, mask, uv, smooth

    def __call__(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses "mask", "uv", "landmarks" and "smooth", each with its weight."""
        logits = network(batch["input"]).float()
        target, count = batch["target"], len(self.codec.rows)
        uv, inside = logits[:, count:], torch.nan_to_num(target[:, :count]).bool().repeat(1, 2, 1, 1, 1)
        return {
            "mask": self.mask * balanced_cross_entropy(logits[:, :count], target[:, :count]),
            "uv": self.uv / 2 * uv_distance(uv, target[:, count:]),
            "landmarks": self.uv / 2 * self._at_landmarks(uv, batch["points_vox"], batch["template_uv"]),
            "smooth": self.smooth * total_variation(uv, inside),
        }

    def _at_landmarks(self, uv: Tensor, points_vox: Tensor, template_uv: Tensor) -> Tensor:
        """The uv maps at the landmarks (B, N, 3) against the template's uv (B, N, 2), each structure weighing alike."""
        sides = torch.tensor(uv.shape[2:4], device=uv.device)
        losses = []
        for number, rows in enumerate(self.codec.rows):
            own = torch.as_tensor(np.asarray(rows), device=uv.device)
            at, truth = points_vox[:, own, :2], template_uv[:, own]
            truth = torch.where(at.isnan(), torch.nan, truth)
            where = ((2 * torch.nan_to_num(at) + 1) / sides - 1).flip(-1)[:, None]
            maps = uv[:, [number, len(self.codec.rows) + number], :, :, 0]
            seen = functional.grid_sample(maps, where, padding_mode="border", align_corners=False)[:, :, 0]
            losses.append(uv_distance(seen.transpose(1, 2), truth))
        return torch.stack(losses).mean()
