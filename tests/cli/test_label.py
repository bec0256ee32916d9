from __future__ import annotations

from lmk3d.cli import main
from lmk3d.components import default_bundle


def test_the_words_reach_the_server(tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr(
        "lmk3d.label.serve", lambda images, bundles, **options: served.append((images, bundles, options))
    )
    assert main(["label", str(tmp_path)]) == 0
    assert (
        main(
            [
                "label",
                str(tmp_path),
                "--bundle",
                "denseseg",
                "--bundle",
                str(tmp_path),
                "--port",
                "8042",
                "--trust",
                "--keep-untrusted",
            ]
        )
        == 0
    )
    assert served == [
        (tmp_path, [default_bundle("cascade")], {"port": 8000, "trust": False, "keep_untrusted": False}),
        (tmp_path, [default_bundle("denseseg"), tmp_path], {"port": 8042, "trust": True, "keep_untrusted": True}),
    ]


def test_an_unknown_bundle_is_one_line(tmp_path, capsys):
    assert main(["label", str(tmp_path), "--bundle", "cascde"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'cascade'?" in error
    assert error.count("\n") == 1
