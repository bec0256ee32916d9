from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path

import pytest

from lmk3d.cli import main
from lmk3d.components import default_bundle
from lmk3d.errors import InputError
from lmk3d.label import prepare, serve, server


@pytest.fixture
def images(tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    return tmp_path


def test_the_app_has_a_main_and_a_copy_of_each_bundle(images):
    app = prepare(images, [default_bundle("cascade"), default_bundle("denseseg")])
    assert app == images / "lmk3d_label"
    assert "LandmarkApp" in (app / "main.py").read_text(encoding="utf-8")
    assert {path.name for path in (app / "model").iterdir()} == {"cascade", "denseseg"}
    assert (app / "model" / "cascade" / "models" / "model.pt").is_file()


def test_what_was_trained_stays(images):
    app = prepare(images, [default_bundle("cascade")])
    (app / "model" / "cascade" / "models" / "model.pt").write_bytes(b"trained here")
    prepare(images, [default_bundle("cascade")])
    assert (app / "model" / "cascade" / "models" / "model.pt").read_bytes() == b"trained here"


def test_wrong_input_is_named(images, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda _name: object())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no images"):
        prepare(tmp_path / "empty", [])
    with pytest.raises(InputError, match="nowhere: no such folder"):
        prepare(tmp_path / "nowhere", [])
    with pytest.raises(InputError, match=r"inference\.json: no such file"):
        prepare(images, [tmp_path / "empty"])
    assert not (images / "lmk3d_label").exists()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match=r"--port: \d+ cannot be used"):
            serve(images, [], port=taken.getsockname()[1])
    with pytest.raises(InputError, match="--port: 70000 cannot be used"):
        serve(images, [], port=70000)


@pytest.mark.skipif(importlib.util.find_spec("monailabel") is not None, reason="MONAI Label is installed here")
def test_a_missing_extra_is_named_before_anything_is_written(images, capsys):
    assert main(["label", str(images)]) == 2
    assert capsys.readouterr().err.startswith(
        "lmk3d: error: MONAI Label is not installed; run pip install 'lmk3d[label]'"
    )
    assert [path.name for path in images.iterdir()] == ["scan.nii.gz"]


def test_monai_labels_own_launcher_gets_the_folders(images, monkeypatch):
    seen = {}

    class Main:
        def run(self):
            seen["words"] = server.sys.argv

    monkeypatch.setattr(server, "find_spec", lambda _name: object())
    monkeypatch.setattr(server.sys, "argv", [])
    monkeypatch.delenv("MONAI_LABEL_DATASTORE_FILE_EXT", raising=False)
    launcher = type(server)("monailabel.main")
    launcher.Main = Main
    monkeypatch.setitem(server.sys.modules, "monailabel", type(server)("monailabel"))
    monkeypatch.setitem(server.sys.modules, "monailabel.main", launcher)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve(images, [default_bundle("denseseg")], port=port)
    words = seen["words"]
    assert words[:2] == ["monailabel", "start_server"]
    assert words[-6:] == ["--conf", "trust", "false", "--conf", "keep_untrusted", "false"]
    assert dict(zip(words[2:-6:2], words[3:-6:2], strict=True)) == {
        "--app": str(images / "lmk3d_label"),
        "--studies": str(images),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--uvicorn_app": "lmk3d.label.gate:app",
    }
    assert "*.nii.gz" in json.loads(server.os.environ["MONAI_LABEL_DATASTORE_FILE_EXT"])
    assert Path(words[3]).is_dir()
