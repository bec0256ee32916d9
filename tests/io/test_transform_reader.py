"""What the process says that reads a transform; damaged files are tested through it, in test_transforms.py."""

from __future__ import annotations

import json

import pytest

from lmk3d.io.transform_reader import main

sitk = pytest.importorskip("SimpleITK")


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), [True, [[1, 2, 3], [2, 2, 3], [1, 3, 3], [1, 2, 4]]]),
        (sitk.TranslationTransform(2, (1.0, 2.0)), [False, []]),
        (sitk.BSplineTransform(3), [False, []]),
    ],
)
def test_it_prints_where_four_points_go(tmp_path, capsys, transform, said):
    sitk.WriteTransform(transform, str(tmp_path / "t.tfm"))
    main(str(tmp_path / "t.tfm"))
    assert json.loads(capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ("1 2", "too few or too many parameters"),
        ("1 2 3 4", "too few or too many parameters"),
        (None, "lines are missing"),
    ],
)
def test_what_itk_would_fill_up_or_leave_out_is_an_error(tmp_path, parameters, match):
    lines = ["#Insight Transform File V1.0", "Transform: VersorTransform_double_3_3", "FixedParameters: 0 0 0"]
    lines += [] if parameters is None else [f"Parameters: {parameters}"]
    (tmp_path / "t.tfm").write_text("\n".join([*lines, ""]), encoding="utf-8")
    with pytest.raises(ValueError, match=match):
        main(str(tmp_path / "t.tfm"))
