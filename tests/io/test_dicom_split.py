from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_image
from lmk3d.io.dicom_frames import Entry, Frame
from lmk3d.io.dicom_split import split_frames

pytest.importorskip("pydicom")
PLANES = {"axial": (1, 0, 0, 0, 1, 0), "coronal": (1, 0, 0, 0, 0, -1), "sagittal": (0, 1, 0, 0, 0, -1)}


def frame(z=0.0, *, uid="", plane="axial", **marks):
    axes = np.array(PLANES[plane], float).reshape(2, 3)
    place = z * np.cross(axes[0], axes[1])
    name = f"{z} {plane} {uid} {sorted(marks.items())}"
    return Frame(Entry(Path(name)), 0, (4, 5), place, axes, (1.0, 1.0), 2.0, (1.0, 0.0), uid, marks)


def names(frames):
    return {name: len(part) for name, part in split_frames(frames).items()}


def test_one_stack_stays_whole():
    assert names([frame(z, AcquisitionTime=str(z)) for z in range(4)]) == {"": 4}


@pytest.mark.parametrize("tag", ["TemporalPositionIndex", "EffectiveEchoTime", "FrameType", "AcquisitionNumber"])
def test_images_at_one_place_are_told_apart_by_what_differs(tag):
    frames = [frame(z, InstanceNumber=str(4 * t + z), **{tag: f"t{t}"}) for t in range(2) for z in range(4)]
    assert names(frames) == {f"{tag}=t0": 4, f"{tag}=t1": 4}
    assert [one.marks[tag] for one in split_frames(frames)[f"{tag}=t1"]] == ["t1"] * 4


def test_two_tags_are_named_where_one_does_not_do():
    marks = [("0", "none"), ("1000", "x"), ("1000", "y")]
    frames = [frame(z, DiffusionBValue=b, DiffusionGradientOrientation=g) for b, g in marks for z in range(3)]
    assert names(frames) == {f"DiffusionGradientOrientation={g}": 3 for _, g in marks}
    pairs = [(echo, kind) for echo in "12" for kind in "MP"]
    frames = [frame(z, EchoNumbers=echo, ImageType=kind) for echo, kind in pairs for z in range(3)]
    assert names(frames) == {f"EchoNumbers={echo},ImageType={kind}": 3 for echo, kind in pairs}


def test_last_phase_may_be_cut_short():
    frames = [frame(z, TriggerTime=str(t)) for t in range(3) for z in range(4) if t < 2 or z < 2]
    assert names(frames) == {"TriggerTime=0": 4, "TriggerTime=1": 4, "TriggerTime=2": 2}


def test_what_differs_from_slice_to_slice_splits_nothing():
    # Two images at each place, and nothing but the number of each tells them apart.
    frames = [frame(z, uid=f"{t}", InstanceNumber=str(2 * z + t)) for t in range(2) for z in range(4)]
    assert names(frames) == {"": 8}
    # A slice is missing: times that differ do not make stacks of the rest.
    assert names([frame(z, AcquisitionTime=str(z)) for z in (0, 1, 3)]) == {"": 3}


def test_planes_of_a_localizer_are_stacks_of_their_own():
    frames = [frame(z, plane=plane) for plane in PLANES for z in range(2)]
    assert names(frames) == {f"plane={plane}": 2 for plane in PLANES}
    assert names([frame(0, plane=plane) for plane in PLANES]) == {f"plane={plane}": 1 for plane in PLANES}
    several = [
        frame(z, plane=plane, EchoTime=echo) for plane in ("axial", "coronal") for z in range(2) for echo in "12"
    ]
    assert set(names(several).values()) == {2}
    assert set(names(several)) == {f"plane={p},EchoTime={e}" for p in ("axial", "coronal") for e in "12"}


def test_two_stacks_of_one_plane_are_told_by_their_id():
    frames = [frame(z, StackID=name) for name, places in (("1", (0, 1, 2)), ("2", (40, 41, 42))) for z in places]
    assert names(frames) == {"StackID=1": 3, "StackID=2": 3}


def test_copy_of_a_file_is_no_image_at_the_same_place():
    frames = [frame(z, uid=f"1.{z}", EchoTime="1") for z in range(3)]
    copies = [Frame(Entry(Path("copy")), *list(vars(one).values())[1:]) for one in frames]
    assert names(frames + copies) == {"": 6}


TWICE = [0.0, 1.5, 3.0, 0.0, 1.5, 3.0]


@pytest.mark.parametrize("tag", ["TemporalPositionIndex", "FrameAcquisitionNumber"])
def test_phases_of_one_file_are_never_read_as_one(tag, write_frames, tmp_path):
    path = write_frames(tmp_path / "a.dcm", TWICE, own=[{tag: 1}] * 3 + [{tag: 2}] * 3)
    with pytest.raises(InputError, match=rf"a\.dcm: has 6 slices at 3 places, which differ in {tag}; choose one stack"):
        read_image(path)
    assert read_image(path, series=f"{tag}=1").data[0, 0].tolist() == [-7, -5, -3]  # 2 x - 7 of 0, 1, 2
    assert read_image(path, series=f"1.2.3 {tag}=2").data[0, 0].tolist() == [-1, 1, 3]
    with pytest.raises(InputError, match=r"has no single series '1\.2\.3'; choose one"):
        read_image(path, series="1.2.3")


def test_frames_that_nothing_tells_apart_are_refused(write_frames, tmp_path):
    with pytest.raises(
        InputError, match="has 6 slices at 3 places, and their headers do not say what tells them apart"
    ):
        read_image(write_frames(tmp_path / "a.dcm", TWICE))
    content = [{"DimensionIndexValues": number} for number in range(6)]
    with pytest.raises(InputError, match="has 6 slices at 3 places, which differ in DimensionIndexValues; give"):
        read_image(write_frames(tmp_path / "b.dcm", TWICE, own=content))


@pytest.mark.parametrize(
    ("tag", "values"), [("EchoTime", [2.3, 4.6]), ("ImageType", [["ORIGINAL", "M"], ["ORIGINAL", "P"]])]
)
def test_files_of_one_series_at_one_place_are_never_read_as_one(tag, values, write_slice, tmp_path):
    for number, value in enumerate(values):
        for z in range(3):
            name = tmp_path / f"{number}{z}.dcm"
            write_slice(
                name, z=z, pixels=np.full((4, 5), number), SOPInstanceUID="1.2.7", **{tag: value}
            )  # one for all
    with pytest.raises(
        InputError,
        match=f"has 6 slices at 3 places, which differ in {tag}; choose one stack .--series.: '{tag}=.*' .3 images.; '",
    ):
        read_image(tmp_path)
    with pytest.raises(InputError, match=f"which differ in {tag}"):
        read_image(tmp_path / "10.dcm")
    chosen = f"{tag}=4.6" if tag == "EchoTime" else f"{tag}=ORIGINAL/P"
    assert (read_image(tmp_path, series=chosen).data == 1).all()


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("EchoTime", ("4", "80")),
        ("StackID", ("1", "2")),
        ("ComplexImageComponent", ("MAGNITUDE", "PHASE")),
        ("ConvolutionKernel", ("B30", "B70")),
    ],
)
@pytest.mark.parametrize("interleaved", [True, False])
def test_kinds_in_one_row_are_stacks_of_their_own(tag, values, interleaved):
    frames = [frame(z, **{tag: values[z % 2 if interleaved else z // 3]}) for z in range(6)]
    assert names(frames) == {f"{tag}={value}": 3 for value in values}


def test_words_of_an_image_type_that_make_another_image_tell_kinds_apart():
    frames = [frame(z, ImageType=f"ORIGINAL/PRIMARY/{'MP'[z % 2]}/ND") for z in range(6)]
    assert names(frames) == {"ImageType=M": 3, "ImageType=P": 3}
    frames = [frame(z, ImageType=f"ORIGINAL/PRIMARY/{'LOCALIZER' if z == 4 else 'AXIAL'}") for z in range(5)]
    assert names(frames) == {"ImageType=other": 4, "ImageType=LOCALIZER": 1}
    assert names([frame(2), frame(3), frames[4]]) == {"ImageType=other": 2, "ImageType=LOCALIZER": 1}


@pytest.mark.parametrize(
    "marks",
    [
        {"EchoTime": ("4.6", "4.61", "4.62", "4.6")},
        {"EchoTime": ("4", "8", "16", "32")},
        {"EchoTime": ("4", "", "80", "80")},
        {"ImageType": ("ORIGINAL/PRIMARY/M", "ORIGINAL/PRIMARY", "ORIGINAL/PRIMARY/M/NORM", "ORIGINAL/PRIMARY/M")},
        {"AcquisitionNumber": ("1", "1", "2", "2"), "TriggerTime": ("0", "5", "0", "5")},
    ],
)
def test_what_may_differ_within_a_stack_splits_nothing(marks):
    assert names([frame(z, **{tag: own[z] for tag, own in marks.items()}) for z in range(4)]) == {"": 4}


def test_kinds_in_one_row_are_refused_until_one_is_chosen(tmp_path, write_slice):
    for z in range(6):
        write_slice(tmp_path / str(z), z=z, pixels=np.full((4, 5), z), EchoTime=(4, 80)[z % 2])
    with pytest.raises(InputError, match=r"6 slices at 6 places, which differ in EchoTime; choose one .*'EchoTime=80'"):
        read_image(tmp_path)
    assert read_image(tmp_path, series="EchoTime=80").data[0, 0].tolist() == [1, 3, 5]
