"""The folder of a training."""


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["--config_file", "here/bundles/one/train.json"], "here/bundles/one"),
        (["--config_file=here/bundles/one/configs/train.json"], "here/bundles/one"),
        (["run", "--config-file", "['here/one/train.json', 'here/one/paper.json']"], "here/one"),
        (["--config_file", "('here/one/train.json','x.json')"], "here/one"),
        (["--config_file"], "."),
        (["--other", "x"], "."),
    ],
)
def test_the_bundles_folder_is_read_from_the_command_line(monkeypatch, tmp_path, arguments, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["monai.bundle", *arguments])
    assert bundle_root() == str(tmp_path / folder)
