"""The sheet: where views put points, how texts are cut, how figures are saved."""

import pytest

from lmk3d.errors import InputError
from lmk3d.plots import save_figure
from lmk3d.plots.planes import STANDARD_PLANES
from lmk3d.plots.sheet import Sheet, View, fit, text_width


def test_a_view_places_points_by_hand():
    view = View(STANDARD_PLANES[0].through((10, 20, 30)), (40, 20), (100, 50, 200, 100))
    assert view.spot((10, 20, 99)) == (200, 100)  # the middle, whatever the depth
    assert view.spot((0, 25, 30)) == (250, 75)  # 10 mm to the left of the patient: 50 to the right; 5 mm up: 25


def test_texts_too_long_for_their_place_are_cut():
    assert fit("short", 100) == "short"
    assert fit("x" * 100, 93) == "x" * 11 + "…"  # 12 signs of 7.75


def test_a_picture_that_cannot_be_written_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(Sheet(100, 100).figure, tmp_path / "nowhere" / "a.png")


def test_a_figure_is_written_whole_and_in_its_own_colour(tmp_path):
    sheet = Sheet(200, 100)
    sheet.text((10, 50), "a $ sign")
    save_figure(sheet.figure, tmp_path / "a.png")
    (written,) = tmp_path.iterdir()
    from PIL import Image

    with Image.open(written) as picture:
        assert picture.size == (240, 120)
        assert picture.convert("RGB").getpixel((239, 0)) == (20, 20, 20)


def test_the_width_of_texts_is_not_guessed_too_small():
    sheet = Sheet(1000, 100)
    for text in ("confidence 0.93   ±0.25 mm", "L12", "aortic arch, left subclavian"):
        sheet.text((0, 50), text)
        drawn = sheet.axes.texts[-1].get_window_extent(sheet.figure.canvas.get_renderer()).width / 1.2
        assert 0.7 * text_width(text) < drawn < 1.02 * text_width(text)


def test_a_picture_says_in_words_what_it_shows(tmp_path):
    from PIL import Image

    save_figure(Sheet(100, 100).figure, tmp_path / "a.png", title="case 1, apex: 2.50 mm apart")
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Title"] == "case 1, apex: 2.50 mm apart"
