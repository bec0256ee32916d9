"""The folder of an evaluation: it must be there before hours are spent."""

import pytest

from lmk3d.errors import InputError
from lmk3d.report_folder import make_folder


def test_a_folder_is_made_with_those_above_it(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_a_file_in_its_place_is_named(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match=r"a: cannot be written \(.*\); choose another folder"):
        make_folder(tmp_path / "a")
