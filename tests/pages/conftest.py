"""A real Chromium without a network, and a scan whose landmarks are its brightest voxels."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest

from lmk3d.evaluation import evaluate_points
from lmk3d.geometry import Volume
from lmk3d.io import check_dataset, read_points, write_points
from lmk3d.landmarks import Landmarks

# Drawn by the processor, since a test machine has no graphics card; no request of Chromium's own.
FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
NAMES = ("upper_tip", "lower<tip>", "gone")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def open_page(browser):
    """Opens an address and yields the page; at the end no request has left it and no script has failed."""

    @contextmanager
    def opened(address, *, offline=True, before="", **look):
        context = browser.new_context(**{"viewport": {"width": 900, "height": 560}, **look})
        context.set_offline(offline)
        context.add_init_script(before)
        context.set_default_timeout(180_000)  # ms; a busy machine draws slowly
        page = context.new_page()
        asked, failed = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", lambda line: failed.append(line.text) if line.type == "error" else None)
        page.goto(address)
        yield page
        context.close()
        assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [address]
        assert failed == []

    return opened


@pytest.fixture(scope="session")
def oblique_scan(draw_grid):
    """An oblique, flipped scan of 200 at one landmark's voxel and 100 at the other's."""
    grid = draw_grid(np.random.default_rng(3), shape=(30, 24, 20), spacing_mm=(1.0, 1.6))
    data = np.zeros(grid.shape, np.int16)
    voxels = np.array([[8, 15, 6], [20, 9, 13]])
    data[tuple(voxels.T)] = (200, 100)
    points = grid.to_mm(voxels)
    return Volume(data, grid), Landmarks(NAMES, [*points, [np.nan] * 3])


@pytest.fixture(scope="session")
def predicted(oblique_scan):
    """Right for one, 5 mm off for the other, and sure of neither."""
    points = oblique_scan[1].points_mm + np.array([[0.0, 0, 0], [0, 3, 4], [0, 0, 0]])
    return Landmarks(NAMES, points, confidence=[0.9, 0.2, 0.1], error_mm=[1.0, 4.0, np.nan])


@pytest.fixture(scope="session")
def results(tiny_dataset, tmp_path_factory):
    """An evaluation of points that are 4 mm off for "right", 0.5 mm for "left", and lack one "top" of two."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "predicted").mkdir()
    for number, missing in ((4, False), (5, True)):
        truth = read_points(tiny_dataset.parent / f"{number}.mrk.json")
        points = truth.points_mm + np.array([[0.5, 0, 0], [0, 4.0, 0], [np.nan] * 3 if missing else [1.0, 0, 0]])
        write_points(Landmarks(truth.names, points, confidence=[0.9, 0.5, 0.2]), folder / "predicted" / f"{number}.csv")
    evaluate_points(folder / "predicted", tiny_dataset, folder / "results")
    return folder / "results"


@pytest.fixture(scope="session")
def trained(tiny_dataset, results, tmp_path_factory):
    """What a training leaves: settings, TensorBoard files of a run that was resumed, fingerprint, an evaluation."""
    from torch.utils.tensorboard import SummaryWriter

    folder = tmp_path_factory.mktemp("my_bundle")
    config = {"epochs": 4, "learning_rate": 0.01, "spacing_mm": 1.5, "train": {"seed": 3}}
    (folder / "train.json").write_text(json.dumps(config), encoding="utf-8")
    for suffix, steps in ((".0", {1: 5.0, 2: 9.0}), (".1", {2: 4.0, 3: 2.5})):
        with SummaryWriter(str(folder / "eval"), filename_suffix=suffix) as writer:
            for step, loss in steps.items():
                writer.add_scalar("train_loss", loss, step)
            writer.add_scalar("mean_error_mm", {".0": 6.0, ".1": 3.0}[suffix], {".0": 2, ".1": 4}[suffix])
    fingerprint = check_dataset(tiny_dataset).fingerprint.to_dict()
    (folder / "fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")
    shutil.copytree(results, folder / "evaluation")
    return folder
