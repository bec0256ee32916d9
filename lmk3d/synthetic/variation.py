"""What sets a varied subject apart: contrast, HU of every tissue, size, arch, atria, disease, implants, arms, table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from lmk3d.synthetic.arch import Arch, draw_arch
from lmk3d.synthetic.chambers import Chambers, draw_chambers
from lmk3d.synthetic.disease import Disease, draw_disease
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.implants import Body, draw_implants
from lmk3d.synthetic.surroundings import arms, head, legs, table
from lmk3d.synthetic.tissue import Tissue

if TYPE_CHECKING:
    from lmk3d.synthetic.aorta import Aorta
    from lmk3d.synthetic.bones import Spine
    from lmk3d.synthetic.heart import Heart
    from lmk3d.synthetic.shapes import Shape

__all__ = ["Phase", "Variation", "draw_variation"]

Phase = Literal["arterial", "right_heart", "late", "weak", "unenhanced"]
"""Where the contrast is: in the arteries, mostly still in the right heart, everywhere alike, little of it, nowhere."""

_OFTEN: dict[Phase, float] = {
    "arterial": 0.62,
    "right_heart": 0.76,
    "late": 0.9,
    "weak": 1.0,
}  # cumulative; "unenhanced" only if asked for


@dataclass(frozen=True, eq=False)
class Variation:
    """One subject's.

    Args:
        seed: of the numbers that are drawn as the shapes are changed.
        phase: of the contrast.
        tissue: HU.
        size: of the body, over that of a usual subject.
        spread: factor on how far every measure of the anatomy lies from its mean.
        disease: of the aorta.
        arch: of the aorta, and where its branches leave.
        chambers: size of the atria, and contrast that mixes within the right heart.
    """

    seed: int
    phase: Phase
    tissue: Tissue
    size: float
    spread: float
    disease: Disease
    arch: Arch
    chambers: Chambers

    def changed(self, shapes: list[Shape], spine: Spine, heart: Heart, aorta: Aorta) -> list[Shape]:
        """A subject's shapes, before its pose, with other HU, and with implants, limbs and a table."""
        draws = Draws(self.seed, stream=5)
        tissue, scale = self.tissue, spine.scale
        hip = legs(draws, scale, tissue)
        top = head(draws, scale, tissue)
        more = arms(draws, scale, tissue) if draws.chance(0.4) else []
        more += table(draws, scale) if draws.chance(0.75) else []
        valve = heart.aorta_start[0, :3]
        body = Body(spine, heart.landmarks["heart_apex"], valve, aorta.path[-1, :3])
        return [*_recoloured(draws, [*shapes, *hip, *top, *more], tissue), *draw_implants(draws, body)]


def draw_variation(seed: int, phase: Phase | None = None) -> Variation:
    """Draw the variation of a seed.

    Args:
        seed: a non-negative integer.
        phase: of the contrast; drawn where None, but never "unenhanced".
    Raises:
        ValueError: for another phase.
    """
    if phase is not None and phase not in get_args(Phase):
        raise ValueError(f"phase must be one of {', '.join(get_args(Phase))}, got {phase!r}")
    draws = Draws(seed, stream=4)
    drawn = draws.uniform()
    found: Phase = next(name for name, up_to in _OFTEN.items() if drawn < up_to) if phase is None else phase
    tissue = _draw_tissue(draws, found)
    return Variation(
        seed=seed,
        phase=found,
        tissue=tissue,
        size=draws.uniform(0.82, 1.22),
        spread=draws.uniform(1.0, 1.5),
        disease=draw_disease(draws, tissue.blood),
        arch=draw_arch(draws),
        chambers=draw_chambers(draws, tissue),
    )


def _draw_tissue(draws: Draws, phase: Phase) -> Tissue:
    """HU of every tissue, and of blood by the contrast's phase."""
    plain, muscle = draws.uniform(30.0, 60.0), draws.uniform(35.0, 75.0)
    strong, other, share = draws.uniform(220.0, 800.0), draws.uniform(), draws.uniform()
    blood, right, vein = {
        "arterial": (strong, plain + (strong - plain) * 1.3 * share, plain + 120 * other),
        "right_heart": (130 + 170 * other, strong * (0.8 + 0.5 * share), plain + 80 * other),
        "late": (130 + 130 * other, 125 + 130 * other, 110 + 120 * other),
        "weak": (120 + 110 * other, plain + 120 * share, plain + 40 * other),
        "unenhanced": (plain, plain, plain),
    }[phase]
    flowing = phase != "unenhanced" and draws.chance(0.45)
    dense, left = draws.uniform(600.0, 2500.0), draws.chance(0.5)
    return Tissue(
        blood=blood,
        right_blood=right,
        vein_blood=vein,
        muscle=muscle,
        myocardium=muscle + draws.uniform(0.0, 0.25) * max(0.0, blood - muscle),
        fat=draws.uniform(-125.0, -75.0),
        lung=draws.uniform(-930.0, -700.0),
        wall=draws.uniform(30.0, 80.0),
        cava=dense if flowing else right,
        arm_vein=dense if flowing and left else vein,
    )


def _recoloured(draws: Draws, shapes: list[Shape], tissue: Tissue) -> list[Shape]:
    """Other HU for all that is no blood and no basic tissue: what had the same HU keeps the same."""
    kept = set(vars(tissue).values())
    fresh: dict[float, float] = {}
    out = []
    for shape in shapes:
        if shape.hu not in fresh:
            factor, more = draws.uniform(0.55, 1.5), draws.near(0.0, 25.0)
            drawn = shape.hu * factor if shape.hu > 150 else shape.hu + more * (shape.hu > -900)
            fresh[shape.hu] = shape.hu if shape.hu in kept else drawn
        out.append(replace(shape, hu=fresh[shape.hu]))
    return out
