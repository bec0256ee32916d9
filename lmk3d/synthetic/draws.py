"""Random numbers that are the same on every platform and in every NumPy.

NumPy promises its bit generators' streams for ever, but not what ``Generator`` makes of them, and its normal numbers
branch on ``exp``, where the last bit differs between machines. So everything here is made of raw 64-bit words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["Draws", "rotation"]


class Draws:
    """A stream of random numbers.

    Args:
        seed: a non-negative integer.
        stream: independent streams of one seed: anatomy, grid and noise must not shift one another.
        spread: factor on every half range of ``near``, ``jitter`` and ``tilt``: above 1 subjects differ more.
    """

    def __init__(self, seed: int, stream: int, *, spread: float = 1.0) -> None:
        self.spread = spread
        self._bits = np.random.PCG64(np.random.SeedSequence((seed, stream)))

    def words(self, count: int) -> NDArray[np.uint64]:
        """``count`` raw 64-bit words."""
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)

    def uniform(self, low: ArrayLike = 0.0, high: ArrayLike = 1.0, shape: tuple[int, ...] = ()) -> Any:
        """Uniform numbers in [low, high): a float where ``shape`` is (), else float64 of that shape."""
        unit = (self.words(int(np.prod(shape, dtype=int))) >> np.uint64(11)) * 2.0**-53
        drawn = np.asarray(low) + (np.asarray(high) - np.asarray(low)) * unit.reshape(shape)
        return float(drawn) if shape == () else drawn

    def near(self, middle: float, half: float) -> float:
        """A uniform number at most ``half``, times the spread, away from ``middle``."""
        return float(self.uniform(middle - half * self.spread, middle + half * self.spread))

    def jitter(self, half: ArrayLike, shape: tuple[int, ...] = (3,)) -> FloatArray:
        """Uniform numbers in [-half, half), times the spread, of a shape."""
        return np.asarray(half) * self.spread * self.uniform(-1.0, 1.0, shape)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.uniform() < probability)

    def order(self, count: int) -> list[int]:
        """A random order of range(count)."""
        return [int(index) for index in np.argsort(self.uniform(shape=(count,)), kind="stable")]

    def tilt(self, max_deg: float) -> FloatArray:
        """A (3, 3) rotation by up to ``max_deg``, times the spread, about each of the three axes."""
        return rotation(*self.jitter(max_deg))

    def noise(self, shape: tuple[int, int, int]) -> NDArray[np.float32]:
        """Nearly normal numbers of mean 0 and deviation 1, correlated with their neighbours along j and k.

        Each is the sum of four 16-bit integers: exact on every machine, and as good as normal within three deviations.
        Neighbours share half their sum, as in a CT; planes of constant i are independent, so a volume may be drawn
        in slabs of any thickness.
        """
        words = self.words(int(np.prod(shape))).view(np.int16)
        grain = words[0::4].astype(np.int32)
        for part in (1, 2, 3):
            grain += words[part::4]
        grain, added = grain.reshape(shape), 4
        for axis in (1, 2):
            if shape[axis] > 1:
                grain += np.roll(grain, 1, axis=axis)
                added *= 2
        # An integer uniform over 2^16 values deviates by 2^16 / sqrt(12).
        scale = np.float32(np.sqrt(12.0 / added) / 2**16)
        return np.asarray(grain, dtype=np.float32) * scale


def rotation(x_deg: float, y_deg: float, z_deg: float) -> FloatArray:
    """The (3, 3) rotation about x, then y, then z."""
    turn = np.eye(3)
    for axis, angle_deg in enumerate((x_deg, y_deg, z_deg)):
        cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
        first, second = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[first, first] = step[second, second] = cosine
        step[first, second], step[second, first] = -sine, sine
        turn = step @ turn
    return turn
