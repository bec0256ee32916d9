from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmk3d.io.dicom_frames import Entry, Frame
from lmk3d.io.dicom_marks import MARKED, copy_key, differences, first_item, marked, marks_of, place_of

pydicom = pytest.importorskip("pydicom")


def item(**fields):
    dataset = pydicom.Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


def frame(z=0.0, *, uid="1.2", name="a", axes=(1, 0, 0, 0, 1, 0), **marks):
    place, directions = np.array([0.0, 0.0, z]), np.array(axes, float).reshape(2, 3)
    return Frame(Entry(Path(name)), 0, (4, 5), place, directions, (1.0, 1.0), 2.0, (1.0, 0.0), uid, marks)


def test_marks_come_from_the_frame_then_what_it_shares_then_the_file():
    own = item(FrameContentSequence=[item(TemporalPositionIndex=3)], MREchoSequence=[item(EffectiveEchoTime=4.6)])
    shared = item(MREchoSequence=[item(EffectiveEchoTime=9.9)], MRDiffusionSequence=[item(DiffusionBValue=1000)])
    found = marks_of([own, shared, item(ImageType=["A", "B"], EchoTime="2.30", AcquisitionTime="")])
    assert found == {
        "TemporalPositionIndex": "3",
        "EffectiveEchoTime": "4.6",
        "DiffusionBValue": "1000",
        "ImageType": "A/B",
        "EchoTime": "2.3",
    }


def test_direction_of_diffusion_lies_two_sequences_deep():
    direction = item(DiffusionGradientOrientation=[0, 1, 0])
    own = item(MRDiffusionSequence=[item(DiffusionGradientDirectionSequence=[direction])])
    assert marks_of([own, None, item()]) == {"DiffusionGradientOrientation": "0/1/0"}
    assert first_item(own, "MREchoSequence") is None


def test_what_a_terminal_would_obey_is_no_part_of_a_mark():
    assert marks_of([item(SequenceName="\x1b[31mred")]) == {"SequenceName": "?[31mred"}


def test_tags_of_the_data_set_alone_are_listed():
    assert {"EchoTime", "ImageType"} <= set(MARKED)
    assert "FrameContentSequence" not in MARKED


def test_differences_are_those_at_one_place_and_numbers_only_count_alone():
    frames = [frame(z, EchoTime=str(e), InstanceNumber=f"{z}{e}", FlipAngle=str(z)) for z in range(2) for e in range(2)]
    assert differences(frames) == "EchoTime"
    assert differences([frame(InstanceNumber=str(n)) for n in range(2)]) == "InstanceNumber"
    assert differences([frame(z, EchoTime=str(z)) for z in range(2)]) == ""


def test_copy_has_uid_place_and_marks_of_the_first():
    assert copy_key(frame(name="a", EchoTime="1")) == copy_key(frame(1e-5, name="b", EchoTime="1"))
    assert copy_key(frame(name="a", EchoTime="1")) != copy_key(frame(name="b", EchoTime="2"))
    assert copy_key(frame(name="a", uid="")) != copy_key(frame(name="b", uid=""))
    assert place_of(frame(0)) != place_of(frame(1))


def test_planes_are_named_and_numbered():
    tilted = (1, 0, 0, 0, 0.8, 0.6)
    found = [mark["plane"] for mark in marked([frame(), frame(axes=tilted), frame(axes=(1, 0, 0, 0, 0, -1)), frame(3)])]
    assert found == ["axial", "axial 2", "coronal", "axial"]
