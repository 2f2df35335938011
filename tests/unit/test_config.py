"""Configuration: merged, filled in, and refused with the key that is wrong."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from pose_splatter.config import merge, resolve
from pose_splatter.dataset import Augmentation
from pose_splatter.errors import PoseSplatterError
from pose_splatter.losses import LossWeights
from pose_splatter.model import NetworkConfig
from pose_splatter.novel_views import Flight
from pose_splatter.segmentation.foreground import ForegroundSettings
from pose_splatter.training import TrainingConfig

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


def test_null_is_a_value_wherever_an_experiment_may_have_it(config):
    """Laid over another value, that is: elsewhere, a key with nothing after it says nothing."""
    schema = yaml.safe_load((ROOT / "config/schemas/experiment.schema.yaml").read_text())
    groups = {"": schema["properties"]} | {
        name: of["properties"] for name, of in schema["properties"].items() if "properties" in of
    }
    nullable = {
        (group, key)
        for group, keys in groups.items()
        for key, of in keys.items()
        if "null" in of.get("type", ())
    }
    assert nullable == {("", "init_from"), ("training", "rehearse_after")}
    base = {"init_from": "baseline", "training": {"rehearse_after": 1}}
    nothing = {"init_from": None, "training": {"rehearse_after": None}}
    assert merge(base, nothing) == nothing
    config["experiments"]["plain"] = {"training": {"rehearse_after": None}}
    settings = resolved(config)["experiments"]
    assert settings["plain"]["training"]["rehearse_after"] is None
    assert settings["baseline"]["training"]["rehearse_after"] == 1


def test_defaults_of_the_schema_fill_what_is_not_said(config):
    demo = config["recordings"]["demo"]
    for key in ("frames", "frame_offsets", "up", "empty_masks"):
        del demo[key]
    del config["presets"]["default"]["split"], config["chunks"]
    settings = resolved(config)
    assert settings["recordings"]["demo"]["frames"] == {"start": 0, "stop": None, "step": 1}
    assert settings["recordings"]["demo"]["frame_offsets"] == {}
    assert settings["recordings"]["demo"]["up"] == "auto"
    assert len(settings["presets"]["default"]["split"]) == 3
    assert settings["chunks"] == 2
    assert settings["recordings"]["demo"]["cameras"] == ["0", "1", "2", "3", "4", "5"]


def test_spelling_changes_nothing(config):
    """1e-4 is text to YAML, 1 is no fraction, and the order of held-out cameras means nothing."""
    as_written = resolved(config)
    config["defaults"]["training"]["learning_rate"] = "2e-3"
    config["defaults"]["training"]["clip_gradient"] = 1
    config["defaults"]["training"]["epochs"] = 7.0
    config["defaults"]["network"]["stride"] = 2.0
    config["experiments"]["high_res"]["training"] = None
    config["presets"]["high_res"]["smoothing"] = None
    config["recordings"]["demo"]["heldout_cameras"] = ["5", 1]
    config["recordings"]["demo"]["frame_offsets"] = {5: 0.0, 3: 0}
    config["plots"] = None
    assert json.dumps(resolved(config)) == json.dumps(as_written)


def test_a_frame_is_a_number_or_auto(config):
    for written, meant in ((283, 283), (283.0, 283), ("auto", "auto"), (None, "auto")):
        config["visualization"]["turntable"] = written
        assert resolved(config)["visualization"]["turntable"] == meant
        assert type(resolved(config)["visualization"]["turntable"]) is type(meant)


def test_a_comparison_holds_its_baseline(config):
    config["comparison"] = {"experiments": ["ablation"], "baseline": "baseline"}
    assert resolved(config)["comparison"]["experiments"] == ["baseline", "ablation"]


def test_defaults_are_the_same_wherever_they_stand():
    """In the schemas, in the library's dataclasses, and in the comments of config.yaml."""
    schema = yaml.safe_load((ROOT / "config/schemas/experiment.schema.yaml").read_text())
    text = (ROOT / "config/config.yaml").read_text()
    keys, compared = set(), set()
    for section, settings in {
        "network": NetworkConfig,
        "training": TrainingConfig,
        "loss": LossWeights,
        "augmentation": Augmentation,
    }.items():
        defaults = {
            key: value["default"]
            for key, value in schema["properties"][section]["properties"].items()
        }
        ours = {
            key: list(v) if isinstance(v, tuple) else v for key, v in asdict(settings()).items()
        }
        assert defaults == ours
        keys |= set(defaults)
        for key, value in defaults.items():
            comment = re.search(rf"\(default: ([^()]*)\)\n +{key}: ", text)
            if comment:
                assert yaml.safe_load(comment[1]) == value, key
                compared.add(key)
    assert compared == keys - {"image", "ssim", "shift"}, "two keys to a comment"


def test_defaults_of_pictures_and_embedding_are_those_of_the_comments():
    schema = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())["properties"]
    text = (ROOT / "config/config.yaml").read_text()
    pictures = schema["visualization"]["properties"]
    flight = pictures.pop("flight")["properties"]
    for key, value in (schema["embedding"]["properties"] | pictures | flight).items():
        comments = re.findall(rf"\(default: ([^()]*)\)\n +{key}: ", text)
        assert comments, key
        assert value["default"] in [yaml.safe_load(comment) for comment in comments], key
    assert {key: value["default"] for key, value in flight.items()} == {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(Flight()).items()
    }


def test_the_segmentations_defaults_are_those_of_the_library_and_the_comments():
    schema = yaml.safe_load((ROOT / "config/schemas/recording.schema.yaml").read_text())
    text = re.sub(r"\n +# ", " ", (ROOT / "config/config.yaml").read_text())
    properties = schema["properties"]["segmentation"]["properties"]
    defaults = {key: value["default"] for key, value in properties.items()}
    assert asdict(ForegroundSettings()).items() <= defaults.items()
    for key, value in defaults.items():
        comment = re.search(rf"\(default: ([^()]*)\)\n +{key}: ", text)
        assert comment, key
        assert yaml.safe_load(comment[1]) == value, key


def test_the_mouse_has_the_originals_numbers(config):
    example = yaml.safe_load((ROOT / "config/examples/markerless_mouse_1.yaml").read_text())
    settings = resolved(merge(config, example))
    experiment = settings["experiments"]["mouse_baseline"]
    assert experiment["training"]["epochs"] == 50
    assert experiment["training"]["learning_rate"] == 1e-4
    assert experiment["loss"] == {"image": 0.5, "ssim": 0.0}
    preset = settings["presets"][experiment["preset"]]
    assert [preset[key] for key in ("downsample", "grid_size", "fill_color")] == [4, 112, 0.38]
    recording = settings["recordings"]["markerless_mouse_1"]
    assert recording["frames"]["step"] == 5
    assert recording["heldout_cameras"] == ["1", "5"]
    high = settings["experiments"]["mouse_high_res"]["preset"]
    assert settings["presets"][high]["downsample"] == 2
    assert settings["presets"][high]["grid_size"] == 128
    assert settings["experiments"]["mouse_ssim"]["loss"] == {"image": 0.3, "ssim": 0.2}
    assert settings["experiments"]["mouse_extended"]["init_from"] == "mouse_baseline"
    assert settings["experiments"]["mouse_extended"]["training"]["epochs"] == 30
    assert settings["experiments"]["mouse_ablation"]["network"]["unets"] == 0


def test_the_person_is_made_from_raw_videos_with_a_camera_held_out(config):
    example = yaml.safe_load((ROOT / "config/examples/pose2sim.yaml").read_text())
    settings = resolved(merge(config, example))
    recording = settings["recordings"]["pose2sim"]
    assert settings["run"] == list(example["experiments"]) == ["person"]
    assert recording["calibration"].endswith(".qca.txt"), "not the one that Pose2Sim converted"
    assert recording["masks"] == "auto"
    assert recording["up"] == "z", "Qualisys's world; cameras that are held askew do not tell"
    assert len(recording["cameras"]) == 4
    assert recording["heldout_cameras"] == ["cam03"]
    assert settings["experiments"]["person"]["apply"] == ["pose2sim"]


def test_merging_leaves_its_inputs_alone():
    base = {"a": {"b": [1], "c": 2}}
    merged = merge(base, {"a": {"b": [3]}})
    assert merged == {"a": {"b": [3], "c": 2}}
    merged["a"]["b"].append(4)
    assert base == {"a": {"b": [1], "c": 2}}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "defaults training epohcs",
            3,
            "config: defaults: training has the unknown key 'epohcs'; ",
        ),
        ("defaults training epohcs", 3, "did you mean 'epochs'?"),
        ("defaults training epochs", 0, "defaults: training: epochs is not valid: 0; give a whole"),
        ("presets default grid_size", 100, "default: grid_size is not valid: 100; give a multiple"),
        ("presets high_res ell", "Auto", "ell is not valid: 'Auto'; give auto or a length above 0"),
        ("defaults training learning_rate", "fast", "'fast'; give a number above 0"),
        ("defaults training learning_rate", float("nan"), "'nan'; give a number above 0"),
        ("export frames", "all", "export: frames is not valid: 'all'; give auto or a list of numb"),
        ("export frames", [3, -1], "export: frames: 1 is not valid: -1; give a frame's number"),
        ("device", "gpu", "device is not valid: 'gpu'; give auto, cpu or cuda"),
        (
            "visualization frames",
            "all",
            "frames is not valid: 'all'; give auto or a list of numbers of",
        ),
        (
            "visualization frames",
            [-1],
            "frames: 0 is not valid: -1; give a frame's number in the video, 0 or more",
        ),
        ("visualization turntable", "worst", "'worst'; give auto or a frame's number in the video"),
        ("visualization turntable", -1, "turntable is not valid: -1; give auto or a frame's"),
        ("visualization flight pitch", [-100, 0], "pitch: 0 is not valid: -100.0; give degrees"),
        ("visualization flight pitch", 15, "pitch is not valid: 15; give the lowest and the"),
        ("run", "baseline", "run is not valid: 'baseline'; give a list of experiments in brackets"),
        ("experiments high_res", "preset", "high_res is not valid: 'preset'; give keys with"),
        ("presets other", 4, "presets: other is not valid: 4; give keys with their values"),
        ("experiments 1", {"prest": "x"}, "experiments: 1 has the unknown key 'prest'"),
        ("recordings demo cameras", [0, "0", 1, 2, 5], "each once"),
        ("recordings demo frames", {"start": 10, "stop": 5}, "stop is 5, not after start 10"),
        ("recordings release", {"like": "demo"}, "has a name that is taken"),
        ("recordings embedding", {"like": "demo"}, "'embedding'; give a name of letters, digits"),
        ("embedding encoder", "resnet18", "weights is not valid: None; give the path of torchv"),
        ("embedding encoder", "resnet50", "encoder is not valid: 'resnet50'; give scattering"),
        ("embedding components", 0, "embedding: components is not valid: 0; give a whole number"),
        ("recordings new", {}, "recordings: new lacks 'calibration'; give the path of a calib"),
        ("experiments baseline init_from", "ablaton", "'ablaton', neither an experiment nor a"),
        ("experiments baseline init_from", "ablaton", "did you mean 'ablation'?"),
        ("experiments ablation init_from", "baseline", "baseline has the network"),
        ("experiments ablation init_from", "results/experiments/baseline/release", "has the netw"),
        ("experiments baseline init_from", "results/experiments/baseline/release", "in a circle"),
        ("experiments baseline init_from", "results/experiments/basline/release", "neither an exp"),
        ("defaults preset", "defualt", "preset names 'defualt'; did you mean 'default'"),
        ("defaults train", ["dmo"], "train names 'dmo'; did you mean 'demo'"),
        ("recordings demo heldout_cameras", ["7"], "heldout_cameras names '7'; known are 0, 1"),
        ("recordings demo heldout_cameras", list("01234"), "fewer than two cameras"),
        ("recordings demo frame_offsets", {"7": 1}, "frame_offsets names '7'; known are 0, 1"),
        ("recordings demo frame_offsets", {"2": 0.5}, "2 is not valid: 0.5; give a whole number"),
        ("recordings demo frame_offsets", 7, "frame_offsets is not valid: 7; give names of camer"),
        ("recordings demo videos", "videos/all.mp4", "videos is not valid"),
        ("recordings demo cameras", ["a b", 1], "cameras: 0 is not valid: 'a b'; give a name of"),
        ("recordings ../evil", {}, "recordings is not valid"),
        ("experiments a b", {}, "experiments is not valid"),
        ("presets default split", [0.6, 0.6, 0.6], "split [0.6, 0.6, 0.6] does not add up to 1"),
        ("recordings demo videos", "{foo}/{camera}.mp4", "give a path with {camera} in it"),
        ("recordings demo masks", "{foo}/{camera}.mp4", "masks is not valid: '{foo}/{camera}.mp4'"),
        ("recordings demo segmentation", {"method": "rembg"}, "weights is not valid: None; give"),
        ("recordings demo segmentation", {"method": "sam2"}, "'sam2'; give background or rembg"),
        ("recordings demo segmentation", {"shadow": 0}, "shadow is not valid: 0.0; give a share"),
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
    section[key] = config["recordings"]["demo"] if value == {"like": "demo"} else value
    with pytest.raises(PoseSplatterError) as error:
        resolved(config)
    assert message in str(error.value)
