from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from lmk3d.codecs import HeatmapCodec
from lmk3d.codecs.heatmap import draw_gaussians
from lmk3d.geometry import Grid, Volume
from lmk3d.inference import LandmarkDetector
from lmk3d.networks import Cascade, HeatmapUNet
from lmk3d.sliding import Tiling, sliding_peaks
from lmk3d.transforms.intensity import Window

WINDOW = Window(-200, 3000)
LIMITS = (WINDOW.low, WINDOW.high)
CODEC = HeatmapCodec(decode_radius=2, num_peaks=3)


class BlobFilter(nn.Module):
    """Bright where a blob is; each channel likes another size. What it says depends on where the window lies.

    Args:
        wobble: how much; 0 says the same of a blob in every window.
        stride: its maps are so many times coarser.
        flat: for depth one.
    """

    def __init__(self, *, wobble: float = 0.3, stride: int = 1, flat: bool = False, gain: float = 2.0) -> None:
        super().__init__()
        steps = torch.arange(7) - 3.0
        kernels = []
        for width in (1.5, 2.2):
            factor = torch.exp(-(steps**2) / (2 * width**2))
            kernel = factor[:, None, None] * factor[:, None] * factor
            kernel = kernel[..., 3:4] if flat else kernel
            kernels.append((kernel - kernel.mean()) / kernel.norm())
        self.kernels = torch.stack(kernels)[:, None]
        self.wobble, self.stride, self.gain = wobble, stride, gain

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = functional.conv3d(image, self.kernels, padding=[side // 2 for side in self.kernels.shape[2:]])
        ramp = torch.linspace(-1, 1, image.shape[2])[:, None, None]
        maps = self.gain * (maps * (1 + self.wobble * ramp) + self.wobble * ramp * image)
        if self.stride > 1:
            maps = functional.avg_pool3d(maps, self.stride)
        return 4 * maps - 2


def scan(shape: tuple[int, int, int], *, seed: int = 0, points: torch.Tensor | None = None) -> torch.Tensor:
    """Blobs of falling brightness in noise, int16."""
    random = torch.Generator().manual_seed(seed)
    if points is None:
        points = torch.rand(4, 3, generator=random) * (torch.tensor(shape) - 1)
    blobs = draw_gaussians(points, shape, 1.8)
    bright = torch.tensor([2400.0, 1500.0, 1100.0, 800.0])[: len(points), None, None, None]
    return ((bright * blobs).sum(0) + 30 * torch.randn(shape, generator=random)).to(torch.int16)


def stitched(network: nn.Module, data: torch.Tensor, codec: HeatmapCodec, roi: tuple[int, ...], overlap: float):
    """The oracle: MONAI's blended maps of full size, decoded."""
    from monai.inferers import SlidingWindowInferer

    image = WINDOW.scale(data.float(), LIMITS)[None, None]
    with torch.inference_mode():
        inferer = SlidingWindowInferer(roi, sw_batch_size=1, overlap=overlap, mode="gaussian")
        return codec.decode(inferer(image, network)[0])


CASES = {
    "sides that fit nothing": ((44, 37, 41), (24, 24, 24), {}),
    "windows of unequal sides": ((30, 44, 37), (16, 24, 20), {}),
    "less overlap": ((44, 37, 41), (24, 24, 24), {"overlap": 0.25}),
    "more overlap": ((36, 30, 28), (20, 20, 20), {"overlap": 0.7}),
    "no overlap": ((44, 37, 41), (24, 24, 24), {"overlap": 0.0, "wobble": 0.0}),
    "smaller than a window": ((44, 37, 17), (24, 24, 24), {}),
    "one window": ((20, 17, 13), (24, 24, 24), {}),
    "depth one": ((60, 47, 1), (24, 24, 1), {"flat": True, "gain": 1.0}),
    "coarser maps": ((44, 36, 40), (24, 24, 24), {"stride": 2}),
    "background": ((44, 37, 41), (24, 24, 24), {"background": True}),
}


@pytest.mark.parametrize(("shape", "roi", "options"), CASES.values(), ids=CASES)
def test_best_peaks_are_those_of_stitched_blending(shape, roi, options):
    options = {"overlap": 0.5, "wobble": 0.3, **options}
    overlap, background = options.pop("overlap"), options.pop("background", False)
    network, data = BlobFilter(**options), scan(shape)
    codec = HeatmapCodec(decode_radius=2, num_peaks=3, background=background)
    expected = stitched(network, data, codec, roi, overlap)
    found = sliding_peaks(network, data, WINDOW, LIMITS, codec, roi=roi, overlap=overlap)
    stride = options.get("stride", 1)
    points = (expected.points_vox + 0.5) * stride - 0.5
    assert_close(found.points_vox[:, 0], points[:, 0], rtol=0, atol=0.1)
    assert_close(found.presence, expected.presence, rtol=0, atol=0.01)
    assert_close(found.weights[:, 0], expected.weights[:, 0], rtol=0.02, atol=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_peaks_that_matter_agree_wherever_the_blobs_lie(seed):
    network, data, roi = BlobFilter(), scan((50, 41, 38), seed=seed), (24, 24, 24)
    expected = stitched(network, data, CODEC, roi, 0.5)
    found = sliding_peaks(network, data, WINDOW, LIMITS, CODEC, roi=roi)
    likely = expected.weights > 0.02
    assert likely.sum() >= 2
    for landmark, place in likely.nonzero().tolist():
        away = (found.points_vox[landmark] - expected.points_vox[landmark, place]).norm(dim=1)
        assert away.min() < 0.1


@pytest.mark.parametrize("shift", [-1.0, -0.6, -0.4, 0.0, 0.4, 0.6, 1.0])
def test_peak_on_the_border_of_two_cores_is_found_once(shift):
    # Windows begin at 0, 12, 24: the cores of the first two meet between voxels 17 and 18.
    points = torch.tensor([[17.5 + shift, 17.5, 17.5]])
    network, data = BlobFilter(gain=4.0), scan((48, 36, 36), points=points)
    found = sliding_peaks(network, data, WINDOW, LIMITS, CODEC, roi=(24, 24, 24))
    expected = stitched(network, data, CODEC, (24, 24, 24), 0.5)
    assert_close(found.points_vox[:, 0], expected.points_vox[:, 0], rtol=0, atol=0.1)
    others = (found.points_vox[:, 1:] - found.points_vox[:, :1]).abs().amax(-1)
    assert (others.nan_to_num(nan=99.0) > 2).all()
    assert (found.weights[:, 1:] < 0.05 * found.weights[:, :1]).all()


def test_stored_type_does_not_matter():
    data, network = scan((30, 28, 26)).clamp(0, 255), BlobFilter()
    window = Window(0, 255)
    peaks = [
        sliding_peaks(network, data.to(dtype), window, (0, 255), CODEC, roi=(16, 16, 16))
        for dtype in (torch.int16, torch.uint8, torch.float64)
    ]
    for other in peaks[1:]:
        assert_close(other.points_vox, peaks[0].points_vox, equal_nan=True)


def test_volume_of_any_order_in_memory_gives_the_same():
    data, network = scan((30, 28, 26)), BlobFilter()
    turned = torch.from_numpy(np.asfortranarray(data.numpy()))
    found, expected = (sliding_peaks(network, d, WINDOW, LIMITS, CODEC, roi=(16, 16, 16)) for d in (turned, data))
    assert_close(found.points_vox, expected.points_vox, equal_nan=True)


def test_network_sees_windows_alone_and_few_of_them_twice():
    seen, network = [], BlobFilter()

    def counted(image: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(image.shape))
        return network(image)

    data = scan((60, 48, 48), points=torch.tensor([[20.0, 21.0, 22.0]]))
    sliding_peaks(counted, data, WINDOW, LIMITS, HeatmapCodec(num_peaks=1), roi=(24, 24, 24))
    windows = len(Tiling((60, 48, 48), (24, 24, 24)))
    assert set(seen) == {(1, 1, 24, 24, 24)}
    assert windows == 4 * 3 * 3
    assert windows < len(seen) <= windows + 16  # eight windows hold a point, and each landmark may lack seven


def test_landmark_that_is_nowhere_has_no_presence():
    peaks = sliding_peaks(
        lambda image: torch.full((1, 2, *image.shape[2:]), -30.0),
        scan((30, 28, 26)), WINDOW, LIMITS, CODEC, roi=(16, 16, 16),
    )  # fmt: skip
    assert (peaks.presence < 1e-6).all()
    assert (peaks.weights < 1e-6).all()


def test_heights_of_nothing_have_no_peaks():
    codec = HeatmapCodec(background=True, num_peaks=2)
    peaks = sliding_peaks(
        lambda image: torch.zeros(1, 3, *image.shape[2:]), scan((30, 28, 26)), WINDOW, LIMITS, codec, roi=(16, 16, 16)
    )
    assert peaks.points_vox.shape == (2, 2, 3)
    assert peaks.points_vox.isnan().all()
    assert not peaks.presence.any()


@pytest.mark.parametrize("shape", [(44, 37, 41), (24, 20, 1), (7, 50, 24), (3, 3, 3)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_voxel_lies_in_one_core(shape, overlap, stride):
    steps = (stride, stride, 1 if shape[2] == 1 else stride)
    tiling = Tiling(shape, (16, 24, 1 if shape[2] == 1 else 20), stride=steps, overlap=overlap)
    count = torch.zeros([high for _, high in tiling.bounds], dtype=torch.int)
    for number in range(len(tiling)):
        i, j, k = (
            slice(at + s.start, at + s.stop) for at, s in zip(tiling.corner(number), tiling.core(number), strict=True)
        )
        count[i, j, k] += 1
    i, j, k = (slice(low, None) for low, _ in tiling.bounds)
    assert (count[i, j, k] == 1).all()
    assert count.sum() == count[i, j, k].numel()
    assert all(
        (high - low) * step >= side - step for (low, high), step, side in zip(tiling.bounds, steps, shape, strict=True)
    )


def test_windows_lie_as_monai_lays_them():
    # Interval 12 = 24 / 2; the last window ends with the image, 44 - 24 = 20 and 37 - 24 = 13.
    tiling = Tiling((44, 37, 10), (24, 24, 24))
    assert tiling.starts == ([0, 12, 20], [0, 12, 13], [0])
    assert tiling.start(0) == (0, 0, -7)  # 14 voxels of padding, half of them before
    assert tiling.start(len(tiling) - 1) == (20, 13, -7)


def test_a_core_is_nearest_to_its_window():
    # Middles at 11.5, 23.5, 31.5: voxels up to 17 are nearest to the first, up to 27 to the second.
    tiling = Tiling((44, 24, 24), (24, 24, 24))
    firsts = [
        (tiling.corner(n)[0] + tiling.core(n)[0].start, tiling.corner(n)[0] + tiling.core(n)[0].stop) for n in range(3)
    ]
    assert firsts == [(0, 18), (18, 28), (28, 44)]


def test_unusable_arguments_are_refused():
    data = scan((20, 20, 20))
    with pytest.raises(ValueError, match=r"roi must be three sides of at least 1 voxel, got \(16, 16\)"):
        sliding_peaks(BlobFilter(), data, WINDOW, LIMITS, CODEC, roi=(16, 16))
    with pytest.raises(ValueError, match=r"overlap must be at least 0 and below 1, got 1"):
        sliding_peaks(BlobFilter(), data, WINDOW, LIMITS, CODEC, roi=(16, 16, 16), overlap=1)
    with pytest.raises(ValueError, match=r"a window of \(16, 16, 16\) voxels gave maps of \(1, 5, 5, 5\)"):
        sliding_peaks(lambda image: image[..., None, :5, :5, :5], data, WINDOW, LIMITS, CODEC, roi=(16, 16, 16))
    with pytest.raises(ValueError, match="multiples of theirs"):
        sliding_peaks(lambda image: image[..., :5, :5, :5], data, WINDOW, LIMITS, CODEC, roi=(16, 16, 16))


def detector(**options: object) -> LandmarkDetector:
    """A first stage of random weights, three landmarks."""
    torch.manual_seed(0)
    network = Cascade(HeatmapUNet(3, channels=(4, 8), stride=2), [], num_landmarks=3)
    network.heatmap.head.weight.data *= 20
    common = {"names": ("a", "b", "c"), "spacing_mm": 0.5, "levels": (), "min_presence": 0.0}
    return LandmarkDetector(network, window=WINDOW, codec=CODEC, **common, **options)


def test_detector_slides_over_its_first_stage():
    data = scan((44, 36, 40)).numpy()
    volume = Volume(data, Grid.around([5, -3, 20], data.shape, 0.5))
    whole = detector().detect(volume)
    one_window = detector(sliding=(96, 96, 96)).detect(volume)
    np.testing.assert_allclose(one_window.points_mm, whole.points_mm, atol=1e-4)
    np.testing.assert_allclose(one_window.confidence, whole.confidence, atol=1e-4)
    small = detector(sliding=(24, 24, 24)).detect(volume)
    assert np.isfinite(small.points_mm).all()


def test_sliding_detector_refuses_bad_scans_and_windows():
    grid = Grid.around([0, 0, 0], (20, 20, 20), 0.5)
    with pytest.raises(ValueError, match="the image is constant"):
        detector(sliding=(16, 16, 16)).detect(Volume(np.zeros((20, 20, 20), np.int16), grid))
    with pytest.raises(ValueError, match="NaN or infinite"):
        detector(sliding=(16, 16, 16)).detect(Volume(np.full((20, 20, 20), np.nan, np.float32), grid))
    with pytest.raises(ValueError, match=r"sliding must be three sides of at least 1 voxel, got \[16, 16\]"):
        detector(sliding=(16, 16))
