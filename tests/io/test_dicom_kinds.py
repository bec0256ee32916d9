from __future__ import annotations

import pytest

from lmk3d.io.dicom_kinds import is_projection, kind_of, lacks_pixels

pydicom = pytest.importorskip("pydicom")


def header(**fields):
    dataset = pydicom.Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SegmentationStorage", "a segmentation (SEG)"),
        ("RTDoseStorage", "a radiotherapy dose (RTDOSE)"),
        ("RTStructureSetStorage", "a radiotherapy structure set (RTSTRUCT)"),
        ("RTPlanStorage", "a radiotherapy record"),
        ("GrayscaleSoftcopyPresentationStateStorage", "a presentation state (PR)"),
        ("KeyObjectSelectionDocumentStorage", "a key object selection (KO)"),
        ("Comprehensive3DSRStorage", "a structured report (SR)"),
        ("EncapsulatedPDFStorage", "an encapsulated document"),
        ("SpatialRegistrationStorage", "a registration, fiducials or raw data"),
        ("MediaStorageDirectoryStorage", "a directory of other DICOM files (DICOMDIR)"),
        ("CTImageStorage", ""),
        ("EnhancedMRImageStorage", ""),
        ("RTImageStorage", ""),
        ("PositronEmissionTomographyImageStorage", ""),
        ("DigitalXRayImageStorageForPresentation", ""),
    ],
)
def test_kind_follows_the_sop_class(name, kind):
    uid = getattr(pydicom.uid, name)
    assert kind_of(header(SOPClassUID=uid, Rows=4, Columns=5)) == kind
    beside = header()
    beside.file_meta = pydicom.dataset.FileMetaDataset()  # which anonymisers leave
    beside.file_meta.MediaStorageSOPClassUID = uid
    assert kind_of(beside) == kind


def test_kind_follows_the_modality_where_the_class_says_nothing():
    assert kind_of(header(Modality="SEG")) == "a segmentation (SEG)"
    assert kind_of(header(Modality="RTDOSE")) == "a radiotherapy dose (RTDOSE)"
    assert kind_of(header(Modality="MR")) == ""
    assert kind_of(header()) == ""


def test_frames_without_positions_are_a_clip():
    assert kind_of(header(Rows=4, Columns=5, NumberOfFrames=20)) == "a clip of 20 images without positions"
    assert kind_of(header(Rows=4, Columns=5, NumberOfFrames=1)) == ""
    own = [header()] * 2
    assert kind_of(header(Rows=4, Columns=5, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=own)) == ""


def test_mosaic_is_no_single_slice():
    assert "a mosaic" in kind_of(header(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]))


def test_image_without_rows_is_damaged_and_a_report_is_not():
    assert lacks_pixels(header(SOPClassUID=pydicom.uid.CTImageStorage))
    assert not lacks_pixels(header(SOPClassUID=pydicom.uid.CTImageStorage, Rows=1, Columns=1))
    assert not lacks_pixels(header(SOPClassUID=pydicom.uid.BasicTextSRStorage))
    assert not lacks_pixels(header())


@pytest.mark.parametrize(
    ("name", "modality", "expected"),
    [
        ("DigitalXRayImageStorageForPresentation", "DX", True),
        ("ComputedRadiographyImageStorage", "", True),
        ("XRayAngiographicImageStorage", "XA", True),
        ("SecondaryCaptureImageStorage", "CR", True),
        ("SecondaryCaptureImageStorage", "XA", False),
        ("", "RF", True),
        ("CTImageStorage", "XA", False),  # rotational angiography, reconstructed
        ("BreastTomosynthesisImageStorage", "MG", False),
        ("MRImageStorage", "MR", False),
    ],
)
def test_projection_is_told_by_its_class_and_without_one_by_its_modality(name, modality, expected):
    fields = {"SOPClassUID": getattr(pydicom.uid, name)} if name else {}
    assert is_projection(header(Modality=modality, **fields)) == expected
