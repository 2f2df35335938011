"""Configuration: merged, filled in, and refused with the key that is wrong."""

from pathlib import Path

import pytest
import yaml

from pose_splatter.config import merge, resolve
from pose_splatter.errors import PoseSplatterError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config/config.yaml").read_text())


def resolved(config):
    return resolve(config, ROOT / "config/schemas")


def test_experiments_override_defaults_key_by_key(config):
    config["experiments"]["fast"] = {"training": {"learning_rate": 0.5}}
    settings = resolved(config)["experiments"]
    assert settings["fast"]["training"] == settings["baseline"]["training"] | {"learning_rate": 0.5}
    assert settings["ablation"]["network"]["unets"] == 0
    assert settings["baseline"]["network"]["unets"] == 1


def test_defaults_of_the_schema_fill_what_is_not_said(config):
    demo = config["recordings"]["demo"]
    for key in ("frames", "up", "empty_masks"):
        del demo[key]
    del config["presets"]["default"]["split"], config["chunks"]
    settings = resolved(config)
    assert settings["recordings"]["demo"]["frames"] == {"start": 0, "stop": None, "step": 1}
    assert settings["recordings"]["demo"]["up"] == "auto"
    assert len(settings["presets"]["default"]["split"]) == 3
    assert settings["chunks"] == 2
    assert settings["recordings"]["demo"]["cameras"] == ["0", "1", "2", "3", "4", "5"]


def test_merging_leaves_its_inputs_alone():
    base = {"a": {"b": [1], "c": 2}}
    merged = merge(base, {"a": {"b": [3]}})
    assert merged == {"a": {"b": [3], "c": 2}}
    merged["a"]["b"].append(4)
    assert base == {"a": {"b": [1], "c": 2}}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("defaults training epohcs", 3, "training has the unknown key 'epohcs'; did you mean 'ep"),
        ("defaults training epochs", 0, "training: epochs is not valid: 0 is less than"),
        ("presets default grid_size", 100, "default: grid_size is not valid: 100 is not a mult"),
        ("defaults preset", "defualt", "preset names 'defualt'; did you mean 'default'"),
        ("defaults train", ["dmo"], "train names 'dmo'; did you mean 'demo'"),
        ("recordings demo heldout_cameras", ["7"], "heldout_cameras names '7'; known are 0, 1"),
        ("recordings demo heldout_cameras", list("01234"), "fewer than two cameras"),
        ("recordings demo videos", "videos/all.mp4", "videos is not valid"),
        ("recordings demo cameras", ["a b", 1], "cameras: 0 is not valid: 'a b': use letters"),
        ("recordings ../evil", {}, "recordings is not valid"),
        ("experiments a b", {}, "experiments is not valid"),
        ("presets default split", [0.6, 0.6, 0.6], "split [0.6, 0.6, 0.6] does not add up to 1"),
        ("recordings demo videos", "{foo}/{camera}.mp4", "write a path with {camera} once"),
        ("experiments baseline init_from", "baseline", "leads in a circle (baseline -> baseline"),
        ("run", ["basline"], "run names 'basline'; did you mean 'baseline'"),
        ("recording", {}, "config has the unknown key 'recording'; did you mean 'recordings'"),
    ],
)
def test_mistakes_are_named(config, path, value, message):
    *parents, key = ["experiments", "a b"] if path == "experiments a b" else path.split()
    section = config
    for parent in parents:
        section = section[parent]
    section[key] = value
    with pytest.raises(PoseSplatterError) as error:
        resolved(config)
    assert message in str(error.value)
