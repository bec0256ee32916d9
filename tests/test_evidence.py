"""What a detection notes: the encoder's channel means, the window's percentiles, how far each stage moves."""

from dataclasses import replace

import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from lmk3d.evidence import RANKS, Evidence, ImageEvidence, Watch
from lmk3d.geometry import Grid
from lmk3d.networks import HeatmapUNet
from lmk3d.transforms.intensity import EqualizedWindow, Window
from lmk3d.transforms.sampling import Scan


def noted(points, there=(True, True, True), numbers=(0, 1, 2), **options):
    image = ImageEvidence((), np.zeros(8), None, np.ones(3))
    stages = {"heatmap": np.zeros((len(numbers), 3)), "refined 1": np.array(points, dtype=float)}
    return Evidence(image, np.array(numbers), np.array(there), stages, np.ones(len(numbers)), **options)


def test_points_and_moves_are_those_of_reported_rows():
    case = noted([[3, 4, 0], [9, 9, 9], [0, 0, 2]], there=(True, False, True))
    assert_array_equal(case.points(4), [[3, 4, 0], [np.nan] * 3, [0, 0, 2], [np.nan] * 3])
    assert_array_equal(case.displacements()["refined 1"], [5, np.nan, 2])
    unsure = replace(case, elsewhere=np.array([0.1, 0.2, 0.3]))
    assert_array_equal(unsure.displacements()["heatmap"], [0.1, np.nan, 0.3])
    assert list(unsure.displacements()) == ["heatmap", *case.displacements()]


def test_a_name_in_two_places_is_no_single_point():
    case = noted([[3, 4, 0], [9, 9, 9], [0, 0, 2]], numbers=(0, 0, 1))
    assert_array_equal(case.points(2), [[np.nan] * 3, [0, 0, 2]])


def test_watch_sees_the_encoder_alone_and_leaves_no_hooks():
    network = HeatmapUNet(2, channels=(4, 6), stride=2)
    image, watch, points = torch.rand(1, 1, 8, 8, 8), Watch(network), np.zeros((2, 1, 3))
    with watch, torch.inference_mode():
        network(image)
        watch.note(points)
    seen = watch.features_of(points)
    assert [layer.shape for layer in seen] == [(4,), (6,)]  # of each size the last one; nothing of the decoder
    expected = network.encoder[0].layers[:4](network.stem(image))[0].mean((1, 2, 3))
    assert_allclose(seen[0], expected.detach(), atol=1e-6)
    assert watch.features_of(points.copy()) == ()
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())


def test_windows_are_told_apart_and_passes_belong_to_their_points():
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1))
    watch, first, second = Watch(network), np.zeros(1), np.ones(1)
    with watch, torch.inference_mode():
        for value in (0.0, 1.0):
            network(torch.full((1, 1, 4, 4, 4), value))
        watch.note(first)
        network(torch.ones(1, 1, 4, 4, 4))
        watch.note(second)
    assert watch.features_of(first)[0].shape == (2, 2)
    assert_allclose(watch.features_of(first)[0][1], watch.features_of(second)[0])


def test_image_is_noted_as_the_window_shows_it():
    data = torch.arange(1000, dtype=torch.int16).reshape(10, 10, 10)
    grid = Grid((10, 10, 10), np.diag([1.0, 2, 3, 1]))
    image = ImageEvidence.of(Scan(data, grid, data, grid, (0.0, 500.0)), Window(0, 500), ())
    assert_allclose(image.intensities[: len(RANKS)], [0.1, 0.2, 0.5, 1, 1, 1, 1], atol=0.002)
    assert_allclose(image.intensities[len(RANKS) :], [500 / 999])
    padded = torch.nn.functional.pad(data, (5, 5), value=-100)
    wider = Grid((10, 10, 20), grid.affine)
    again = ImageEvidence.of(Scan(padded, wider, padded, wider, (0.0, 500.0)), Window(0, 500), ())
    assert_allclose(again.intensities, image.intensities)
    assert_array_equal(image.sides, [10, 20, 30])
    assert image.limits == (0.0, 500.0)
    for window in (Window(1, 99, percentiles=True), EqualizedWindow()):  # whose numbers differ between images
        limits = window.limits(data)
        assert ImageEvidence.of(Scan(data, grid, data, grid, limits), window, ()).limits is None
