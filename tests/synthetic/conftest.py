from dataclasses import replace

import numpy as np
import pytest

from lmk3d.geometry import Grid
from lmk3d.synthetic.anatomy import draw_anatomy
from lmk3d.synthetic.render import render
from lmk3d.synthetic.shapes import Tube, unit
from lmk3d.synthetic.window import Window


@pytest.fixture(scope="session")
def subjects():
    return [draw_anatomy(seed) for seed in range(30)]


@pytest.fixture
def in_body():
    """Each landmark of a subject as R, A, S of the body itself, its pose undone."""
    return _in_body


@pytest.fixture
def depth_mm():
    """How deep a point lies below a shape's surface, from the share of a small voxel."""
    return _depth_mm


@pytest.fixture
def aorta_of():
    """The tube of a subject's aorta."""
    return _aorta_of


@pytest.fixture
def surroundings():
    """A fine image about a landmark, perhaps without the branch that starts there."""
    return _surroundings


@pytest.fixture
def sample():
    """HU of a volume at world points."""
    return _sample


@pytest.fixture
def origin_in_image():
    """Where an image of a subject, without noise, shows the origin of a branch; it knows the truth to 2 mm only."""
    return _origin_in_image


def _in_body(subject):
    return dict(zip(subject.landmarks.names, subject.landmarks.points_mm @ subject.turn, strict=True))


def _depth_mm(shape, point):
    voxel = Window(point, np.eye(3), np.ones(3), np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64))
    edge = 0.4
    return (float(shape.cover(voxel, edge)[0, 0, 0]) - 0.5) / 1.5 * edge


def _aorta_of(subject):
    blood = max(shape.hu for shape in subject.shapes if isinstance(shape, Tube) and shape.radii_mm.max() > 11.5)
    tubes = [shape for shape in subject.shapes if isinstance(shape, Tube) and shape.hu == blood]
    return max((tube for tube in tubes if tube.radii_mm.max() > 10), key=lambda tube: len(tube.points_mm))


def _surroundings(subject, name, half_mm=8.0, spacing=0.25, *, without_branch=False):
    point = subject.landmarks[name][0]
    if without_branch:
        starts = [isinstance(s, Tube) and np.abs(s.points_mm - point).sum(1).min() < 1e-6 for s in subject.shapes]
        assert sum(starts) >= 1
        subject = replace(subject, shapes=tuple(s for s, own in zip(subject.shapes, starts, strict=True) if not own))
    side = 2 * int(half_mm / spacing) + 1
    return render(subject, Grid.around(point + np.array([0.07, -0.05, 0.11]), (side, side, side), spacing), blur_mm=0.1)


def _sample(volume, points_mm):
    from scipy.ndimage import map_coordinates

    return map_coordinates(volume.data.astype(float), volume.grid.to_vox(points_mm).T, order=1)


def _origin_in_image(subject, name):
    blood = _aorta_of(subject).hu
    truth = subject.landmarks[name][0]
    alone, both = _surroundings(subject, name, without_branch=True), _surroundings(subject, name)
    # The branch is what only the whole image shows: its centres in two shells give its line, which is followed back to
    # where the parent alone falls to half its contrast.
    index = np.stack(np.meshgrid(*map(np.arange, both.grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    places, more = both.grid.to_mm(index), (both.data.astype(float) - alone.data).ravel()
    away = np.linalg.norm(places - truth, axis=1)
    middles = []
    for distance in (1.2, 1.8):
        chosen = (np.abs(away - distance) < 0.3) & (more > 0.2 * blood)
        middles.append((places[chosen] * more[chosen, None]).sum(0) / more[chosen].sum())
    line = middles[0] + np.linspace(-6, 4, 401)[:, None] * unit(middles[1] - middles[0])
    profile = _sample(alone, line)
    half = (blood + min(np.median(profile[-60:]), 60.0)) / 2
    return line[np.flatnonzero(profile > half)[-1]]
