"""What a bundle holds beside its training."""

from dataclasses import replace

from lmk3d.configure import LevelPlan, Plan
from lmk3d.configure.extras import metadata, paper_overrides

PLAN = Plan(
    "tiny", "for tests", ("a", "b"), (), 0.0, 1.0, spacing_mm=2.0, sides=(16, 24, 32), levels=(LevelPlan(1.0, 8, 1.0),)
)


def test_metadata_say_what_goes_in_and_what_comes_out():
    data = metadata(PLAN)
    assert data["changelog"][data["version"]]
    formats = data["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == [16, 24, 32]
    assert formats["outputs"]["pred"]["spatial_shape"] == [8, 12, 16]  # half as fine
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "a", "2": "b"}
    assert "not a medical device" in data["intended_use"]


def test_metadata_say_what_the_weights_have_seen_and_warn_of_phantoms():
    assert metadata(PLAN)["warning"] == "trained on CTA phantoms alone: its points on real scans are mostly wrong"
    films = metadata(replace(PLAN, sides=(16, 24, 1), levels=()))
    assert films["warning"].startswith("trained on phantoms of radiographs alone")
    real = metadata(replace(PLAN, dataset="/somewhere/dataset.json"))
    assert real["data_source"] == "the data set tiny"
    assert "warning" not in real


def test_the_papers_settings_have_a_channel_more_and_a_network_for_each_landmark():
    paper = paper_overrides(PLAN)
    assert paper["network_def"]["heatmap"]["num_outputs"] == 3
    assert paper["network_def"]["heatmap"]["num_sides"] == 3
    assert paper["objective#side_weights"] == [0.3, 0.6, 0.9]
    assert paper["codec"]["background"] is True
    assert paper["codec"]["decode_radius"] == 0
    assert paper["learning_rate"] == 1e-3
    assert paper["train#dataloader#batch_size"] == 4
