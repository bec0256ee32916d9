"""The two-stage cascade as one module with one checkpoint: the heatmap network, its refiners, the shapes it learnt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lmk3d.codecs import LandmarkTree, UsualPlaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmk3d.codecs import ShapeModel
    from lmk3d.transforms.registration import Template

__all__ = ["Cascade"]

# A covariance of 72 MB, a template of 256 MB.
_MOST_LANDMARKS, _MOST_VOXELS = 1000, 2**26


class Cascade(nn.Module):
    """Holds both stages; ``forward`` is the first one, an inferer or ``LandmarkDetector`` drives the second.

    Args:
        heatmap: the first stage, images (B, 1, I, J, K) to logits (B, N or N + 1, I, J, K).
        refiners: the second stage, coarse to fine; each maps patches and landmark numbers to moves.
        num_landmarks: N.
        template_shape: (I, J, K) voxels of the template that images are laid over, kept with the weights; None where
            images are looked at as they lie.
        tree: whether a ``LandmarkTree`` is kept with the weights, to choose among the landmarks' peaks.
        places: whether ``UsualPlaces`` are kept, too, for the tree to weigh.
        steps: whether a refiner finds landmarks from their neighbours in it; then it is kept, too, how often the first
            stage mistakes each of them.
    Raises:
        ValueError: if there are more landmarks, or a template of more voxels, than memory is good for.
    Source:
        Tan et al. 2020, sec. 2. The paper has one refiner; several passes are its named future work.

    >>> from lmk3d.networks import HeatmapUNet
    >>> network = Cascade(HeatmapUNet(5, channels=(4, 8)), [], num_landmarks=5)
    >>> network(torch.zeros(1, 1, 8, 8, 8)).shape
    torch.Size([1, 5, 8, 8, 8])
    """

    def __init__(
        self,
        heatmap: nn.Module,
        refiners: Sequence[nn.Module],
        *,
        num_landmarks: int,
        template_shape: Sequence[int] | None = None,
        tree: bool = False,
        places: bool = False,
        steps: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= num_landmarks <= _MOST_LANDMARKS:
            raise ValueError(f"num_landmarks must lie in [1, {_MOST_LANDMARKS}], got {num_landmarks}")
        if template_shape is not None and not 1 <= math.prod(template_shape) <= _MOST_VOXELS:
            raise ValueError(f"template_shape must have 1 to {_MOST_VOXELS} voxels, got {list(template_shape)}")
        self.heatmap = heatmap
        self.refiners = nn.ModuleList(refiners)
        self.mean_shape: Tensor
        self.shape_covariance: Tensor
        self.error_ratio: Tensor
        self.template: Tensor
        self.template_affine: Tensor
        self.template_middle: Tensor
        self.tree_parents: Tensor
        self.tree_steps: Tensor
        self.tree_covariances: Tensor
        self.place_offsets: Tensor
        self.place_covariance: Tensor
        self.place_fields: Tensor
        self.mistakes: Tensor
        # Learnt from the training shapes and the validation errors, not by gradient; saved with the weights.
        self.register_buffer("mean_shape", torch.zeros(num_landmarks, 3, dtype=torch.float64))
        self.register_buffer("shape_covariance", torch.zeros(3 * num_landmarks, 3 * num_landmarks, dtype=torch.float64))
        # Mean validation error over the error scale that the last refiner claims; NaN until a validation has said it.
        self.register_buffer("error_ratio", torch.tensor(torch.nan, dtype=torch.float64))
        self.has_template = template_shape is not None
        if template_shape is not None:
            self.register_buffer("template", torch.zeros(list(template_shape)))
            self.register_buffer("template_affine", torch.eye(4, dtype=torch.float64))
            self.register_buffer("template_middle", torch.zeros(3, dtype=torch.float64))
        self.has_tree, self.has_places, self.has_steps = tree, places, steps
        if tree:
            self.register_buffer("tree_parents", torch.full((num_landmarks,), -1))
            self.register_buffer("tree_steps", torch.zeros(num_landmarks, 3, dtype=torch.float64))
            self.register_buffer("tree_covariances", torch.eye(3, dtype=torch.float64).repeat(num_landmarks, 1, 1))
        if places:  # of images of no size until they are learnt, so that no image has usual places
            self.register_buffer("place_offsets", torch.zeros(num_landmarks, 3, dtype=torch.float64))
            self.register_buffer("place_covariance", torch.eye(3, dtype=torch.float64))
            self.register_buffer("place_fields", torch.full((2, 3), 1e-9, dtype=torch.float64))
        if steps:  # the share of the validation cases in which the first stage took another place for it
            self.register_buffer("mistakes", torch.zeros(num_landmarks, dtype=torch.float64))

    @property
    def flat(self) -> bool:
        """Whether it looks at films, volumes of one slice."""
        return bool(getattr(self.heatmap, "flat", False))

    @torch.no_grad()
    def keep(
        self,
        *,
        shape: ShapeModel | None = None,
        template: Template | None = None,
        tree: LandmarkTree | None = None,
        places: UsualPlaces | None = None,
    ) -> None:
        """Keep what was learnt from the training's points and images with the weights; None leaves what is kept."""
        if shape is not None:
            self.mean_shape.copy_(torch.as_tensor(shape.mean_mm))
            self.shape_covariance.copy_(torch.as_tensor(shape.covariance))
        if template is not None:
            self.template.copy_(template.data)
            self.template_affine.copy_(torch.tensor(template.grid.affine))
            self.template_middle.copy_(torch.as_tensor(template.middle_mm))
        if tree is not None:
            self.tree_parents.copy_(torch.as_tensor(tree.parents))
            self.tree_steps.copy_(torch.as_tensor(tree.steps_mm))
            self.tree_covariances.copy_(torch.as_tensor(tree.covariances))
        if places is not None:
            self.place_offsets.copy_(torch.as_tensor(places.offsets_mm))
            self.place_covariance.copy_(torch.as_tensor(places.covariance))
            self.place_fields.copy_(torch.as_tensor(places.fields_mm))

    def kept_tree(self) -> LandmarkTree | None:
        """The tree kept with the weights; None where there is none."""
        if not self.has_tree:
            return None
        parents, steps, covariances = self.tree_parents, self.tree_steps, self.tree_covariances
        return LandmarkTree(*(part.cpu().numpy() for part in (parents, steps, covariances)))

    def kept_places(self) -> UsualPlaces | None:
        """The usual places kept with the weights; None where there are none."""
        if not self.has_places:
            return None
        return UsualPlaces(
            *(part.cpu().numpy() for part in (self.place_offsets, self.place_covariance, self.place_fields))
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.heatmap(image)
