"""What tools/benchmark.py measures: for each case a function for lmk3d and one for each of those it is compared with.

Each function runs in a process of its own, imports what it needs and returns what it found, mostly {"seconds": ...}.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

EXTENT_MM = 300.0  # side of every volume here, whatever its voxels
SIGMA_VOX = 2.0
ROI = 96


@dataclass(frozen=True)
class Job:
    """One measurement: a contestant of a case at a size, as the child process gets it.

    Args:
        case, tool: what is measured, and by whom.
        size: voxels along each side.
        landmarks: how many.
        repeat: runs to take the best of; of the cases floor and trust the median.
        folder: for files that several processes use.
    """

    case: str
    tool: str
    size: int
    landmarks: int
    repeat: int
    folder: str

    @property
    def image(self) -> Path:
        return Path(self.folder) / f"{'ct_like' if self.case == 'floor' else 'cta'}_{self.size}.nii.gz"

    @property
    def bundle(self) -> Path:
        return Path(self.folder) / f"bundle_{self.landmarks}"


Result = dict[str, Any]
Contestant = Callable[[Job], Result]


def best_of(job: Job, work: Callable[[], Any]) -> float:
    """Seconds of the fastest run."""
    taken = []
    for _ in range(job.repeat):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def some_points(job: Job) -> Any:
    """(N, 3) float32 sub-voxel points well inside, the same for all contestants."""
    import torch

    margin = min(12.0, job.size / 4)
    spread = torch.rand(job.landmarks, 3, generator=torch.Generator().manual_seed(0))
    return margin + spread * (job.size - 1 - 2 * margin)


def some_volume(job: Job) -> Any:
    """A volume of noise."""
    import numpy as np

    from lmk3d.geometry import Grid, Volume

    shape = (job.size,) * 3
    data = np.random.default_rng(0).integers(-200, 700, shape, dtype=np.int16)
    return Volume(data, Grid.around([0, 0, 0], shape, EXTENT_MM / job.size))


def targets_lmk3d(job: Job) -> Result:
    """A Gaussian drawn inside its box at the true position."""
    from lmk3d.codecs import HeatmapCodec

    points, codec = some_points(job), HeatmapCodec(sigma_vox=SIGMA_VOX)
    return {"seconds": best_of(job, lambda: codec.draw(points, (job.size,) * 3))}


def targets_monai(job: Job) -> Result:
    """GenerateHeatmap, with the same sigma."""
    from monai.transforms import GenerateHeatmap

    points = some_points(job).numpy()
    draw = GenerateHeatmap(sigma=SIGMA_VOX, spatial_shape=(job.size,) * 3)
    return {"seconds": best_of(job, lambda: draw(points))}


def targets_landmarker(job: Job) -> Result:
    """GaussianHeatmapGenerator, with the same sigma."""
    from landmarker.heatmap import GaussianHeatmapGenerator  # type: ignore[import-not-found]

    points = some_points(job)[None]
    draw = GaussianHeatmapGenerator(job.landmarks, sigmas=SIGMA_VOX, heatmap_size=(job.size,) * 3)
    return {"seconds": best_of(job, lambda: draw(points))}


def decoded(job: Job, decode: Callable[[Any], Any]) -> Result:
    """Seconds and error of a function from maps (N, I, J, K) with noise of 5 % of the peak to (N, 3) points."""
    import torch

    from lmk3d.codecs.heatmap import draw_gaussians

    points = some_points(job)
    noise = torch.Generator().manual_seed(1)
    maps = draw_gaussians(points, (job.size,) * 3, SIGMA_VOX)
    maps += 0.05 * torch.randn(maps.shape, generator=noise)
    error = (decode(maps) - points).norm(dim=1)
    return {"seconds": best_of(job, lambda: decode(maps)), "error_vox": round(float(error.mean()), 3)}


def decoding_lmk3d(job: Job) -> Result:
    """The highest local maximum, then mean shift."""
    import torch

    from lmk3d.codecs.heatmap import top_peaks

    return decoded(job, lambda maps: top_peaks(maps.clamp_min(0), torch.ones(len(maps)), 1, 3).points_vox[:, 0])


def argmax_vox(maps: Any) -> Any:
    """(N, 3) whole voxels."""
    import torch

    return torch.stack(torch.unravel_index(maps.flatten(1).argmax(1), maps.shape[1:]), dim=1)


def decoding_argmax(job: Job) -> Result:
    """The highest voxel."""
    return decoded(job, argmax_vox)


def decoding_centre(job: Job) -> Result:
    """Centre of mass of 7 voxels round the highest, what one would write by hand."""
    import torch

    steps = torch.cartesian_prod(*[torch.arange(-3, 4)] * 3)

    def decode(maps: Any) -> Any:
        top = argmax_vox(maps)
        i, j, k = (top[:, None] + steps).clamp(0, maps.shape[1] - 1).unbind(-1)
        values = maps[torch.arange(len(maps))[:, None], i, j, k].clamp_min(0)
        return top + (values[..., None] * steps).sum(1) / values.sum(1, keepdim=True)

    return decoded(job, decode)


def decoding_landmarker(job: Job) -> Result:
    """The local soft-argmax of landmarker, over as many voxels."""
    from landmarker.heatmap import coord_local_soft_argmax

    return decoded(job, lambda maps: coord_local_soft_argmax(maps[None], window=7, spatial_dims=3)[0])


def stage1_lmk3d(job: Job) -> Result:
    """Block means, resampling, network, peaks."""
    from lmk3d.inference import LandmarkDetector

    detector, volume = LandmarkDetector.from_bundle(job.bundle), some_volume(job)
    detector.levels = ()
    return {"seconds": best_of(job, lambda: detector.detect(volume))}


def refinement_lmk3d(job: Job) -> Result:
    """Patches of the last level: cut, and moved by its refiner."""
    import numpy as np
    import torch

    from lmk3d.inference import LandmarkDetector
    from lmk3d.transforms.sampling import cut_patches, patch_grid, stored_tensor

    detector, volume = LandmarkDetector.from_bundle(job.bundle), some_volume(job)
    level, refiner, data = detector.levels[-1], detector.network.refiners[-1], stored_tensor(volume)
    centres = volume.grid.to_mm(some_points(job).numpy())
    targets = [patch_grid(volume.grid, centre, np.eye(3), level.size, level.spacing_mm) for centre in centres]
    limits = detector.window.limits(data)
    with torch.inference_mode():
        patches = cut_patches(data, volume.grid, targets, detector.window, limits)
        cut = best_of(job, lambda: cut_patches(data, volume.grid, targets, detector.window, limits))
        refine = best_of(job, lambda: refiner(patches[:, None], torch.arange(len(patches))))
    each = {"cut_per_s": round(len(targets) / cut), "refined_per_s": round(len(targets) / refine)}
    return {"seconds": cut + refine, "patches_per_s": round(len(targets) / (cut + refine)), **each}


def small_unet(job: Job) -> Any:
    """A small U-Net with a map for each landmark, the same for both contestants."""
    import torch

    from lmk3d.networks import HeatmapUNet

    torch.manual_seed(0)
    return HeatmapUNet(job.landmarks, channels=(8, 16, 32)).eval()


def window_side(job: Job) -> int:
    """Side of a sliding window in voxels, what U-Nets of three levels take."""
    return min(ROI, job.size // 8 * 4)


def sliding_lmk3d(job: Job) -> Result:
    """Running best peaks, then blending round them alone."""
    from lmk3d.codecs import HeatmapCodec
    from lmk3d.sliding import sliding_peaks
    from lmk3d.transforms.intensity import Window
    from lmk3d.transforms.sampling import stored_tensor

    network, data, roi = small_unet(job), stored_tensor(some_volume(job)), (window_side(job),) * 3
    window, codec = Window(-200, 700), HeatmapCodec(decode_radius=2)
    start = time.perf_counter()
    peaks = sliding_peaks(network, data, window, (-200, 700), codec, roi=roi, overlap=0.25)
    return {"seconds": time.perf_counter() - start, "points_vox": peaks.points_vox[:, 0].tolist()}


def sliding_monai(job: Job) -> Result:
    """SlidingWindowInferer: stitched maps, then argmax."""
    import torch
    from monai.inferers import SlidingWindowInferer

    from lmk3d.codecs import HeatmapCodec
    from lmk3d.transforms.sampling import stored_tensor

    network, data, roi = small_unet(job), stored_tensor(some_volume(job)), (window_side(job),) * 3
    start = time.perf_counter()
    with torch.inference_mode():
        image = ((data.float() + 200) / 900).clamp_(0, 1)[None, None]
        inferer = SlidingWindowInferer(roi, sw_batch_size=1, overlap=0.25, mode="gaussian")
        maps = inferer(image, network)[0]
        argmax_vox(maps)
        seconds = time.perf_counter() - start
        # For the comparison of the points alone, and not timed: read below a voxel by the same codec.
        points = HeatmapCodec(decode_radius=2).decode(maps).points_vox[:, 0]
    return {"seconds": seconds, "points_vox": points.tolist()}


def predict_lmk3d(job: Job) -> Result:
    """The command a user types."""
    from lmk3d.cli import main

    out = Path(job.folder) / "out"
    code = main(["predict", str(job.image), "--bundle", str(job.bundle), "--output", str(out), "--overwrite"])
    if code:
        raise SystemExit(code)
    manifest = json.loads((out / f"cta_{job.size}.manifest.json").read_text(encoding="utf-8"))
    return {"steps": manifest["seconds"]}


def predict_monai(job: Job) -> Result:
    """What a MONAI user would write: load, window, a small U-Net by sliding window, the highest voxel in world mm."""
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import UNet
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, ScaleIntensityRange

    read = Compose([LoadImage(), EnsureChannelFirst(), ScaleIntensityRange(-200, 700, 0, 1, clip=True)])
    network = UNet(3, 1, job.landmarks, channels=(16, 32, 64), strides=(2, 2)).eval()
    inferer = SlidingWindowInferer((window_side(job),) * 3, sw_batch_size=1, overlap=0.25)
    with torch.inference_mode():
        image = read(job.image)
        maps = inferer(image[None], network)[0]
        vox = argmax_vox(maps.as_tensor())
    affine = image.affine
    print((vox.to(affine.dtype) @ affine[:3, :3].T + affine[:3, 3]).tolist())
    return {}


def training_lmk3d(job: Job) -> Result:
    """One step of both stages on a batch in memory: two inputs, 48 patches."""
    import torch

    from lmk3d.codecs import HeatmapCodec
    from lmk3d.networks import Cascade, HeatmapRefiner, HeatmapUNet
    from lmk3d.training import CascadeObjective, total_loss

    torch.manual_seed(0)
    count = job.landmarks
    refiner = HeatmapRefiner(count, patch_size=24, channels=(16, 32, 64))
    network = Cascade(HeatmapUNet(count, stride=2), [refiner], num_landmarks=count)
    objective = CascadeObjective(network, codec=HeatmapCodec(sigma_vox=1.0), spacings_mm=[1.0])
    optimizer = torch.optim.AdamW(network.parameters())
    batch = {
        "input": torch.rand(2, 1, *(job.size,) * 3),
        "points_vox": some_points(job).expand(2, -1, -1) / 2,
        "patches0": torch.rand(2, 24, 24, 24, 24),
        "numbers0": torch.arange(24).remainder(count).expand(2, -1),
        "moves0": torch.randn(2, 24, 3),
    }

    def step() -> None:
        optimizer.zero_grad()
        total_loss(objective(batch)).backward()
        optimizer.step()

    seconds = best_of(job, step)
    return {"seconds": seconds, "steps_per_s": round(1 / seconds, 3)}


def training_monai(job: Job) -> Result:
    """One step of a U-Net of the same widths at full resolution, its targets made by GenerateHeatmap."""
    import torch
    from monai.networks.nets import UNet
    from monai.transforms import GenerateHeatmap

    torch.manual_seed(0)
    network = UNet(3, 1, job.landmarks, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2)
    optimizer = torch.optim.AdamW(network.parameters())
    draw = GenerateHeatmap(sigma=SIGMA_VOX, spatial_shape=(job.size,) * 3)
    image, points = torch.rand(2, 1, *(job.size,) * 3), some_points(job).numpy()

    def step() -> None:
        optimizer.zero_grad()
        target = torch.stack([torch.as_tensor(draw(points)) for _ in range(2)])
        torch.nn.functional.mse_loss(network(image), target).backward()
        optimizer.step()

    seconds = best_of(job, step)
    return {"seconds": seconds, "steps_per_s": round(1 / seconds, 3)}


def floor_lmk3d(job: Job) -> Result:
    """The command a user types, with the shipped weights, on a scan that looks like a CT and has no organs."""
    words = ["predict", str(job.image), "--output", str(Path(job.folder) / "out"), "--overwrite"]
    os.execv(sys.executable, [sys.executable, "-m", "lmk3d", *words])


def floor_imports(job: Job) -> Result:
    """What no prediction can do without: torch and nibabel imported, the file unpacked into memory."""
    import nibabel  # noqa: F401 - the import is the point
    import torch  # noqa: F401
    from isal import isal_zlib

    isal_zlib.decompress(job.image.read_bytes(), wbits=31)
    return {}


def trust_lmk3d(job: Job) -> Result:
    """The command a user types, with the shipped weights, on a phantom."""
    words = ["predict", str(job.image), "--output", str(Path(job.folder) / "out"), "--overwrite"]
    os.execv(sys.executable, [sys.executable, "-m", "lmk3d", *words])


def trust_without(job: Job) -> Result:
    """The same bundle without calibration.json, so that nothing is assessed."""
    words = ["predict", str(job.image), "--output", str(Path(job.folder) / "out"), "--overwrite"]
    words += ["--bundle", str(Path(job.folder) / "uncalibrated")]
    os.execv(sys.executable, [sys.executable, "-m", "lmk3d", *words])


def write_ct_like(job: Job) -> None:
    """A cylinder of smooth tissue in air, under noise: packed, a byte a voxel as a CT, 141 MB at 512^3."""
    import gzip

    import numpy as np
    from scipy.ndimage import gaussian_filter, zoom

    from lmk3d.geometry import Grid, Volume
    from lmk3d.io.nifti import nifti_image

    rng, size = np.random.default_rng(0), job.size
    coarse = gaussian_filter(rng.normal(size=(64, 64, 64)), 3)
    coarse = (coarse - coarse.min()) / np.ptp(coarse)
    places = np.linspace(-1, 1, size)
    inside = (places[:, None] ** 2 + places**2) < 0.72
    data = np.empty((size,) * 3, np.int16)
    for plane, rows in enumerate(np.linspace(0, 63, size)):
        tissue = zoom(coarse[:, :, round(rows)], size / 64, order=1) * 400 - 200
        data[:, :, plane] = (np.where(inside, tissue, -1000) + rng.normal(0, 13, (size, size))).round()
    step = 0.7 * 512 / size
    volume = Volume(data, Grid(data.shape, np.diag([-step, -step, step, 1.0])))
    with gzip.open(job.image, "wb", compresslevel=6) as file:
        file.write(nifti_image(volume).to_bytes())


def prepare(job: Job) -> Result:
    """Write what the others read: a phantom's scan, and a bundle shaped as the shipped one with random weights."""
    if job.case == "floor":
        write_ct_like(job)
        return {}
    import torch
    from monai.bundle import ConfigParser

    from lmk3d.components import default_bundle
    from lmk3d.configure import write_bundle
    from lmk3d.configure.shipped import CASCADE
    from lmk3d.io import write_image
    from lmk3d.synthetic import cta_phantom

    if job.case in ("predict", "trust") and not job.image.is_file():
        shape = (job.size,) * 3
        write_image(cta_phantom(1, region="aorta", shape=shape, spacing_mm=EXTENT_MM / job.size).volume, job.image)
    if job.case == "trust":
        leave = shutil.ignore_patterns("calibration.json", "runs")
        shutil.copytree(default_bundle(), Path(job.folder) / "uncalibrated", ignore=leave, dirs_exist_ok=True)
    elif not job.bundle.is_dir():
        names = tuple(f"landmark {number}" for number in range(job.landmarks))
        levels = tuple(replace(level, share=1.0) for level in CASCADE.levels)
        write_bundle(job.bundle, replace(CASCADE, names=names, levels=levels, phantoms={}))
        config = json.loads((job.bundle / "inference.json").read_text(encoding="utf-8"))
        config["detector"]["min_presence"] = 0.0  # random weights see nothing, and every landmark is to be refined
        (job.bundle / "inference.json").write_text(json.dumps(config), encoding="utf-8")
        torch.manual_seed(0)
        network = ConfigParser(config).get_parsed_content("network_def")
        (job.bundle / "models").mkdir(exist_ok=True)
        torch.save({"network": network.state_dict()}, job.bundle / "models" / "model.pt")
    return {}


@dataclass(frozen=True)
class Case:
    """What is measured by default, and by whom; lmk3d comes first, and the others are compared with it."""

    tools: dict[str, Contestant]
    sizes: tuple[int, ...]
    landmarks: tuple[int, ...]
    whole_process: bool = False


CASES = {
    "targets": Case(
        {"lmk3d": targets_lmk3d, "monai": targets_monai, "landmarker": targets_landmarker}, (128, 256), (5, 32, 100)
    ),
    "decoding": Case(
        {
            "lmk3d": decoding_lmk3d,
            "argmax": decoding_argmax,
            "centre of mass": decoding_centre,
            "landmarker": decoding_landmarker,
        },
        (128,),
        (32,),
    ),
    "stage1": Case({"lmk3d": stage1_lmk3d}, (512,), (5, 32, 100)),
    "refinement": Case({"lmk3d": refinement_lmk3d}, (512,), (100,)),
    "sliding": Case({"lmk3d": sliding_lmk3d, "monai": sliding_monai}, (256,), (5, 32)),
    "predict": Case({"lmk3d": predict_lmk3d, "monai": predict_monai}, (256, 512), (5, 32, 100), whole_process=True),
    "floor": Case({"lmk3d": floor_lmk3d, "floor": floor_imports}, (512,), (14,), whole_process=True),
    "trust": Case({"lmk3d": trust_lmk3d, "without": trust_without}, (256,), (14,), whole_process=True),
    "training": Case({"lmk3d": training_lmk3d, "monai": training_monai}, (96,), (5,)),
}
NEED_FILES = ("stage1", "refinement", "predict", "floor", "trust")
IN_TURN = ("floor", "trust")
