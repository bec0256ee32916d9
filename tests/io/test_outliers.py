from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume
from lmk3d.io.fingerprint import measure_image
from lmk3d.io.outliers import find_outliers


def facts(count=10, shape=(20, 18, 16)):
    generator = np.random.default_rng(0)
    volumes = [
        Volume(
            generator.normal(100, 20, shape).astype(np.float32) * generator.uniform(0.7, 1.4), Grid(shape, np.eye(4))
        )
        for _ in range(count)
    ]
    return [measure_image(volume, None, str(row), "training") for row, volume in enumerate(volumes)]


def changed(own, **fields):
    return find_outliers([*own[:-1], replace(own[-1], **fields)])


def test_alike_images_and_too_few_give_nothing():
    assert find_outliers(facts()) == [[]] * 10
    assert changed(facts(3), size_mm=(2000.0, 18.0, 16.0)) == [[]] * 3
    assert [len(lines) for lines in changed(facts(4), size_mm=(2000.0, 18.0, 16.0))] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size_mm": (200.0, 180.0, 160.0)}, "measures 200 mm along its longest side, the others 20"),
        ({"size_mm": (2.0, 1.8, 1.6)}, "measures 2 mm along its longest side"),
        ({"shape": (200, 180, 160)}, "has 200 voxels along its longest side, the others 20"),
        ({"spacing_mm": (1.0, 1.0, 10.0)}, "has a spacing of 1 x 1 x 10 mm, the others about 1"),
        ({"spacing_mm": (0.1, 1.0, 1.0)}, "has a spacing of 0.1 x 1 x 1 mm"),
    ],
)
def test_another_order_of_size_is_told(fields, said):
    *others, last = changed(facts(), **fields)
    assert others == [[]] * 9
    assert last[0].startswith(said)
    assert last[0].endswith("; is its spacing right?")


@pytest.mark.parametrize("percentiles", [(-1000.0, 40.0, 4100.0), (0.0, 0.4, 1.0), (1100.0, 1120.0, 1180.0)])
def test_intensities_of_another_scale_are_told(percentiles):
    *others, last = changed(facts(), percentiles=percentiles, minimum=-1000.0, maximum=4100.0)
    assert others == [[]] * 9
    assert last[0].startswith("its values, -1000 to 4100, are far from the others' (")


def test_films_and_volumes_are_not_compared():
    mixed = [*facts(5), *(replace(own, size_mm=(200.0, 200.0, 1.0)) for own in facts(5, (20, 18, 1)))]
    assert find_outliers(mixed) == [[]] * 10
