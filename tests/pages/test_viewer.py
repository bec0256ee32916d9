"""A scan with its landmarks, in a real browser."""

import base64
import gzip
import io
import json
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume, film_affine
from lmk3d.landmarks import Assessment, Landmarks
from lmk3d.pages import PageServer, view_page
from lmk3d.pages.viewer import reduced


@pytest.fixture(scope="module")
def page_file(tmp_path_factory, oblique_scan, predicted):
    volume, truth = oblique_scan
    path = tmp_path_factory.mktemp("view") / "page.html"
    path.write_text(view_page(volume, [truth, predicted], title="scan<1>.nii")[0], encoding="utf-8")
    return path


def embedded(page):
    """The NIfTI inside a page."""
    from nibabel.nifti1 import Nifti1Image

    code = re.search(r'id="volume">([^<]+)<', page)[1]
    return Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(code)))


def pixels(page, selector):
    """(H, W, 3) of what is seen in the middle of an element."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB"))


@pytest.fixture(scope="module")
def shown(open_page, page_file):
    """The page on a laptop, its scan drawn; opened once, since that takes seconds without a graphics card."""
    with open_page(page_file.as_uri()) as page:
        assert page.evaluate("lmk3d.ready")
        yield page


def crosshair(page):
    return page.evaluate("lmk3d.crosshair()")


def test_rows_move_the_crosshair_to_their_point_by_mouse_and_by_keys(shown, oblique_scan, predicted):
    rows = shown.locator("tbody tr")
    assert rows.count() == 3
    rows.nth(1).click()
    assert_allclose(crosshair(shown), predicted.points_mm[1], atol=1e-3)
    assert rows.nth(1).get_attribute("aria-selected") == "true"
    shown.keyboard.press("ArrowUp")
    assert shown.evaluate("document.activeElement.dataset.row") == "0"
    assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    shown.keyboard.press("Enter")
    assert_allclose(crosshair(shown), oblique_scan[1].points_mm[0], atol=1e-3)
    # The value there is that of the landmark's voxel: the affine that NiiVue uses is the scan's.
    assert shown.locator("#where").inner_text().endswith("value 200")


def test_the_scan_is_seen_with_its_marks(shown):
    shown.locator("tbody tr").first.click()
    assert len(np.unique(pixels(shown, "#scan").reshape(-1, 3), axis=0)) > 50
    assert shown.evaluate(
        "(() => { const m = document.getElementById('marks');"
        " return m.getContext('2d').getImageData(0, 0, m.width, m.height).data.some((v) => v > 0) })()"
    )


@pytest.mark.parametrize(("plane", "across"), [("axial", (0, 1)), ("coronal", (0, 2)), ("sagittal", (1, 2))])
def test_a_mark_lies_where_a_click_goes(plane, across, shown, predicted):
    shown.locator("tbody tr").first.click()
    shown.locator(f"[data-plane={plane}]").click()
    x, y, depth = shown.evaluate(f"lmk3d.drawn({predicted.points_mm[1].tolist()}, '{plane}')")
    box = shown.locator("#scan").bounding_box()
    shown.mouse.click(box["x"] + x, box["y"] + y)
    error = np.subtract(crosshair(shown), predicted.points_mm[1])
    assert np.abs(error[list(across)]).max() < 0.2  # a pixel is about 0.1 mm here
    assert abs(depth + np.delete(error, across)[0]) < 0.2
    shown.locator("[data-plane=all]").click()


def test_the_list_says_errors_and_can_be_sorted(shown):
    text = shown.locator("tbody").inner_text()
    assert "lower<tip>" in text
    assert re.search(r"5\.00\s+0\.20\s+4\.0", text)
    assert "in neither" in text
    shown.get_by_role("button", name="error mm").click()
    assert shown.locator("tbody tr").first.inner_text().startswith("lower<tip>")
    assert shown.locator("th[aria-sort=descending]").count() == 1
    assert "scan<1>.nii" in shown.locator("canvas#scan").get_attribute("aria-label")
    shown.get_by_role("button", name="landmark").click()
    shown.get_by_role("button", name="landmark").click()
    assert shown.locator("tbody tr").first.inner_text().startswith("upper_tip")


def test_a_phone_shows_scan_and_list_below_each_other(open_page, page_file):
    with open_page(page_file.as_uri(), viewport={"width": 390, "height": 700}) as page:
        page.evaluate("lmk3d.ready")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        scan, rows = page.locator(".scan").bounding_box(), page.locator("aside").bounding_box()
        assert rows["y"] >= scan["y"] + scan["height"] - 1
        page.locator("footer").scroll_into_view_if_needed()
        assert page.locator(".scan").bounding_box()["y"] >= 0  # the scan stays in view while the list moves
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            back = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", back))) > 600) == (scheme == "light")


def test_a_served_page_needs_nothing_else(open_page, page_file):
    with PageServer(page_file.read_text(encoding="utf-8")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with open_page(server.url, offline=False) as page:
                assert page.evaluate("lmk3d.ready")
        finally:
            server.shutdown()
            thread.join()


def test_a_film_lies_as_it_is_stored(open_page, tmp_path):
    data = np.zeros((40, 60, 1), np.uint8)
    data[10, 50] = 255
    volume = Volume(data, Grid(data.shape, film_affine((1.0, 1.0))), "px")
    points = Landmarks(("corner", "dot"), [volume.grid.to_mm(voxel) for voxel in ((0, 0, 0), (10, 50, 0))])
    (tmp_path / "film.html").write_text(view_page(volume, [points], title="film.png")[0], encoding="utf-8")
    with open_page((tmp_path / "film.html").as_uri()) as page:
        assert page.evaluate("lmk3d.ready")
        page.locator("tbody tr").nth(1).click()
        assert page.locator("#where").inner_text().endswith("px value 255")
        corner, dot = (page.evaluate(f"lmk3d.drawn({point.tolist()}, 'axial')") for point in points.points_mm)
        right, down = np.subtract(dot, corner)[:2]
        assert right == pytest.approx(5 * down, rel=1e-3)
        assert down > 0
        assert page.locator(".planes").count() == 0


def test_without_webgl_the_list_remains(open_page, page_file):
    with open_page(page_file.as_uri(), before="HTMLCanvasElement.prototype.getContext = () => null") as page:
        assert page.evaluate("lmk3d.ready") is False
        assert "no WebGL 2" in page.get_by_role("alert").inner_text()
        assert page.locator("tbody tr").count() == 3


def test_the_page_holds_the_scan_with_its_affine(oblique_scan):
    volume, truth = oblique_scan
    image = embedded(view_page(volume, [truth], title="scan")[0])
    assert_array_equal(np.asarray(image.dataobj), volume.data)
    assert_allclose(image.affine, volume.grid.affine, rtol=1e-6, atol=1e-4)
    assert image.get_data_dtype() == np.int16


def test_a_large_scan_is_averaged_where_it_lies_and_says_so(draw_grid):
    grid = draw_grid(np.random.default_rng(1), shape=(31, 20, 12))
    centers = grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    slope = np.array([1.0, -2.0, 0.5])  # of a value that is linear in the world: its means lie on the same slope
    shown, (note,) = reduced(Volume(centers @ slope, grid), most_bytes=4000)
    assert shown.data.nbytes <= 4000
    assert shown.data.dtype == np.float32
    places = shown.grid.to_mm(np.stack(np.meshgrid(*map(np.arange, shown.grid.shape), indexing="ij"), axis=-1))
    assert_allclose(shown.data, places @ slope, rtol=1e-5, atol=1e-3)
    assert re.match(
        r"The scan is shown averaged over blocks of \d x \d x \d voxels, .* mm; the points are exact.", note
    )


@pytest.mark.parametrize(
    ("kind", "kept"), [("uint8", "uint8"), ("int8", "int16"), ("uint16", "uint16"), ("int32", "float32")]
)
def test_types_that_viewers_do_not_know_are_changed(kind, kept):
    data = np.arange(24).reshape(2, 3, 4).astype(kind)
    shown, notes = reduced(Volume(data, Grid((2, 3, 4), np.eye(4))))
    assert shown.data.dtype == kept
    assert notes == []
    assert_array_equal(shown.data, data)


def test_voxels_that_are_no_numbers_become_the_lowest():
    data = np.array([1.0, np.nan, np.inf, 3.0], np.float32).reshape(4, 1, 1)
    assert reduced(Volume(data, Grid((4, 1, 1), np.eye(4))))[0].data.ravel().tolist() == [1, 1, 1, 3]


def test_points_outside_the_image_are_noted(oblique_scan):
    far = Landmarks(("a", "b"), [oblique_scan[1].points_mm[0], [1e4, 0, 0]])
    assert view_page(oblique_scan[0], [far], title="s")[1] == ["Outside the image: b."]


def test_what_is_known_of_scan_and_points_stands_on_the_page_once(oblique_scan):
    volume, truth = oblique_scan
    marks = replace(truth, notes=("trained on <phantoms> alone",))
    page, notes = view_page(replace(volume, notes=("read as LAS",)), [marks, marks], title="s")
    assert notes == ["Note: read as LAS.", "Note: trained on <phantoms> alone."]
    assert page.count('<p class="note">Note: trained on &lt;phantoms&gt; alone.</p>') == 1


def test_points_that_are_not_trusted_are_marked_on_the_page(oblique_scan):
    volume, truth = oblique_scan
    doubts = ("", "far off", *[""] * (len(truth) - 2))
    assessed = replace(truth, confidence=np.ones(len(truth)), assessment=Assessment((), doubts))
    page, _ = view_page(volume, [truth, assessed], title="scan")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [row["name"] for row in data["rows"]] == [truth.names[row] for row in (1, 0, 2)]
    assert [row["dashed"] for row in data["rows"]] == [True, False, False]
    assert data["rows"][0]["color"] == "#ff9a52"
    assert "<b>Doubtful:</b> 1 of 2 points found, on top of the list" in page
    assert "doubtful: far off" in page
    assert "</svg>not trusted</span>" in page


def test_the_prediction_is_the_one_that_says_confidences(oblique_scan, predicted):
    volume, truth = oblique_scan
    pages = [view_page(volume, pair, title="s")[0] for pair in ([truth, predicted], [predicted, truth])]
    assert pages[0] == pages[1]


def test_points_that_cannot_belong_together_are_refused(oblique_scan):
    volume, truth = oblique_scan
    other = Landmarks(("x", "y"), truth.points_mm[:2])
    with pytest.raises(InputError, match=r"no name in common \(upper_tip, lower<tip>, gone, .* and x, y"):
        view_page(volume, [truth, other], title="s")
    with pytest.raises(InputError, match="s: not one of the points lies in the image; are they those"):
        view_page(volume, [Landmarks(("a", "b"), [[1e4, 0, 0], [0, -1e4, 0]])], title="s")
    with pytest.raises(InputError, match="points are in px; write them in mm"):
        view_page(volume, [replace(other, unit="px")], title="s")
