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


@pytest.mark.parametrize("lost", ["Parameters", "FixedParameters", "Transform"])
def test_line_that_is_missing_is_an_error_where_itk_takes_the_identity(tmp_path, lost):
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(tmp_path / "t.tfm"))
    lines = (tmp_path / "t.tfm").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "t.tfm").write_text("".join(line for line in lines if not line.startswith(lost)), encoding="utf-8")
    with pytest.raises(ValueError, match="some lines are missing, or too many"):
        main(str(tmp_path / "t.tfm"))
