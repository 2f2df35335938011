"""What is promised about files and names of foreign origin, and where each promise is tested."""

import ast
import copy
import json
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.common.configfile import load_configfile

from pose_splatter.calibration.opencv import _Loader
from pose_splatter.checkpoints import load_checkpoint
from pose_splatter.cli import make_parser, read_config
from pose_splatter.config import resolve
from pose_splatter.embedding.encoders import ResNet18Encoder
from pose_splatter.embedding.transforms import load_transforms
from pose_splatter.errors import PoseSplatterError
from pose_splatter.masks import read_masks
from pose_splatter.model import NetworkConfig
from pose_splatter.segmentation.recording import load_model
from pose_splatter.tracking import load_track
from pose_splatter.training import ALONE, TrainingConfig, _Run
from pose_splatter.video import VideoInfo
from pose_splatter.viewer import _scene_server, open_server

from ..conftest import Trap
from .test_cli import render
from .test_cli import workspace as results  # noqa: F401

ROOT = Path(__file__).parents[2]
PROMISES = {
    "no code in a file is run": [
        "unit/test_security.py::test_no_code_in_a_file_is_run",
        "unit/test_security.py::test_a_checkpoint_that_runs_code_is_one_sentence",
        "unit/test_security.py::test_no_code_that_could_run_what_it_reads",
        "unit/test_checkpoints.py::test_what_is_no_checkpoint_is_refused",
        "unit/test_checkpoints.py::test_a_damaged_release_is_refused",
        # its cases "a pickle that runs code" and "a tag"
        "unit/test_calibration.py::test_a_file_that_is_not_a_calibration_is_refused",
        "workflow/test_workflow.py::test_a_calibration_file_per_camera",
    ],
    "names stay inside results/": [
        "unit/test_security.py::test_names_that_could_lead_elsewhere_are_refused",
        "unit/test_security.py::test_an_admitted_name_is_one_part_of_a_path",
        "unit/test_discovery.py::test_names_that_will_not_do",
        "unit/test_cli.py::test_what_is_not_known_is_not_viewed",
        "workflow/test_workflow.py::test_a_recordings_name_is_no_path",
    ],
    "nothing from config reaches a shell": [
        "unit/test_security.py::test_no_rule_has_a_shell_command",
        "unit/test_security.py::test_no_code_that_could_run_what_it_reads",
        "workflow/test_workflow.py::test_paths_are_paths_and_nothing_else",
    ],
    "the viewer listens to this machine alone, unless told otherwise": [
        "unit/test_security.py::test_the_viewer_listens_to_this_machine_alone",
        "unit/test_cli.py::test_a_viewer_says_where_it_is",
    ],
    "a folder of locks that others can write to is refused": [
        "unit/test_devices.py::test_a_folder_of_locks_that_is_not_ours_alone_is_refused",
        "unit/test_devices.py::test_a_lock_that_is_a_link_is_not_followed",
    ],
}


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_is_tested_where_it_is_said_to_be(promise):
    for place in PROMISES[promise]:
        file, _, name = place.partition("::")
        assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(), place


# --- no code in a file is run ------------------------------------------------------------------


def save_arrays(path: Path, trap: Trap, *names: str) -> None:
    np.savez(path, **{name: np.array([trap], object) for name in names})


def zarr_v2(path: Path, trap: Trap, **metadata) -> None:
    """An array of Zarr's second format whose only chunk is a pickle."""
    path.mkdir()
    array = {"zarr_format": 2, "shape": [2, 3, 4], "chunks": [2, 3, 4], "order": "C"}
    array |= {"dtype": "|u1", "compressor": None, "filters": None, "fill_value": None}
    (path / ".zarray").write_text(json.dumps(array | metadata))
    (path / "0.0.0").write_bytes(pickle.dumps(trap))


def zarr_v3(path: Path, trap: Trap) -> None:
    chunks = {"name": "regular", "configuration": {"chunk_shape": [2, 3, 4]}}
    keys = {"name": "default", "configuration": {"separator": "/"}}
    array = {"zarr_format": 3, "node_type": "array", "shape": [2, 3, 4], "data_type": "uint8"}
    array |= {"chunk_grid": chunks, "chunk_key_encoding": keys, "fill_value": 0, "attributes": {}}
    array["codecs"] = [{"name": "numcodecs.pickle"}, {"name": "bytes"}]
    (path / "c/0/0").mkdir(parents=True)
    (path / "zarr.json").write_text(json.dumps(array))
    (path / "c/0/0/0").write_bytes(pickle.dumps(trap))


def masks_of(path: Path) -> list[np.ndarray]:
    return list(read_masks(str(path), "0", ["0"], VideoInfo(path, 2, 4, 3, 30.0)))


def resume(path: Path) -> None:
    network = NetworkConfig(unets=1, channels=(8, 16), features=8, hidden=16)
    _Run(network, TrainingConfig(epochs=1), 1, "cpu", ALONE).resume(path, "any")


def own_config(path: Path) -> None:
    read_config(ROOT, [path])


TAG = "recordings: !!python/object/apply:os.mkdir ['{}']\n"
TRACK = ("visible", "centers", "angles", "covs", "radii", "spans")
# What each reader is given: the file's name, how it is written, how it is read.
FILES = {
    "checkpoint": ("a.pt", lambda p, t: torch.save({"network": t}, p), load_checkpoint),
    "checkpoint as plain pickle": (
        "a.pt",
        lambda p, t: p.write_bytes(pickle.dumps(t)),
        load_checkpoint,
    ),
    "training state": ("state.pt", lambda p, t: torch.save({"fingerprint": t}, p), resume),
    "encoder": ("a.pth", lambda p, t: torch.save({"conv1.weight": t}, p), ResNet18Encoder),
    "track": ("a.npz", lambda p, t: save_arrays(p, t, *TRACK), load_track),
    "background": ("a.npz", lambda p, t: save_arrays(p, t, "picture", "noise"), load_model),
    "transforms": ("a.npz", lambda p, t: save_arrays(p, t, "mean"), load_transforms),
    "masks of objects": (
        "a.zarr",
        lambda p, t: zarr_v2(p, t, dtype="|O", filters=[{"id": "pickle"}]),
        masks_of,
    ),
    "masks behind a filter": (
        "a.zarr",
        lambda p, t: zarr_v2(p, t, dtype="|O", filters=[{"id": "vlen-utf8"}, {"id": "pickle"}]),
        masks_of,
    ),
    "masks behind a compressor": (
        "a.zarr",
        lambda p, t: zarr_v2(p, t, compressor={"id": "pickle"}),
        masks_of,
    ),
    "masks behind a codec": ("a.zarr", zarr_v3, masks_of),
    "config": ("a.yaml", lambda p, t: p.write_text(TAG.format(t.folder)), own_config),
    "config of Snakemake": (
        "a.yaml",
        lambda p, t: p.write_text(TAG.format(t.folder)),
        load_configfile,
    ),
}


@pytest.mark.parametrize("file", FILES)
def test_no_code_in_a_file_is_run(tmp_path, monkeypatch, file):
    # What numcodecs refuses by itself, so that it is seen whether we ever let it read.
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True)
    name, write, read = FILES[file]
    ran = tmp_path / "ran"
    write(tmp_path / name, Trap(ran))
    # Whatever the reader says of it: its own tests ask for a sentence.
    with pytest.raises(Exception):  # noqa: B017, PT011
        read(tmp_path / name)
    assert not ran.exists()


@pytest.mark.parametrize("file", ["checkpoint", "checkpoint as plain pickle"])
def test_a_checkpoint_that_runs_code_is_one_sentence(results, tmp_path, capsys, file):  # noqa: F811
    """To whoever renders with it; all else that is read for that is in order."""
    checkpoint = results / "results/experiments/plain/checkpoint.pt"
    _, write, _ = FILES[file]
    write(checkpoint, Trap(tmp_path / "ran"))
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    assert render(results, "--output", str(tmp_path / "a.png")) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"pose-splatter: {checkpoint}: not a checkpoint of this program (")
    assert said.err.endswith("); delete it and train again, or name another.\n")
    assert said.err.count("\n") == 1
    assert "weights_only" not in said.err, "torch's advice to run it all the same"
    assert not said.out
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.iterdir())
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()
    yaml.unsafe_load(TAG.format(tmp_path / "ran too"))
    assert (tmp_path / "ran too").is_dir()


def test_objects_in_hdf5_are_no_masks(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("masks", data=np.full((2, 3, 4), "text", object))
    with pytest.raises(PoseSplatterError, match="not whole numbers"):
        masks_of(tmp_path / "a.h5")


# Calls that can run what they are given, or what is in a file.
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "import_module"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "pd.read_pickle", "pandas.read_pickle"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all"),
    *("torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
}
MODULES = {"dill", "cloudpickle", "joblib", "marshal", "shelve", "_pickle", "cPickle"}
# A reader of MAMMAL's pickles that builds arrays alone, and one of OpenCV's YAML.
ADMITTED = {
    ("src/pose_splatter/calibration/mammal.py", "pickle.Unpickler"),
    ("src/pose_splatter/calibration/opencv.py", "yaml.load"),
}


def dangers(source: str) -> Iterator[str]:
    """What a program calls, derives from or imports that could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{a.name}" for a in node.names}
            yield from (n for n in names if n in FORBIDDEN or n.split(".")[0] in MODULES)
        elif isinstance(node, ast.ClassDef):
            yield from (name for base in node.bases if (name := ast.unparse(base)) in FORBIDDEN)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            safe = {
                "torch.load": options.get("weights_only") == "True",
                "yaml.load": False,
                "np.load": options.get("allow_pickle", "False") == "False" and len(node.args) < 3,
            }
            if name in FORBIDDEN or name.endswith(".read_pickle") or not safe.get(name, True):
                yield name
            if options.get("shell", "False") != "False":
                yield f"{name} with a shell"


def test_no_code_that_could_run_what_it_reads():
    files = [path for name in ("src", "benchmarks", "resources") for path in all_code(name)]
    found = {
        (path.relative_to(ROOT).as_posix(), danger)
        for path in files
        for danger in dangers(path.read_text())
    }
    assert len(files) > 100
    assert found == ADMITTED
    assert issubclass(_Loader, yaml.SafeLoader)


def all_code(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, None, True)",
        "pickle.load(file)",
        "from pickle import load",
        "import joblib",
        "class Reader(pickle.Unpickler): ...",
        "yaml.load(text, yaml.Loader)",
        "from yaml import unsafe_load",
        "pd.read_pickle(path)",
        "eval(text)",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_dangers_are_seen(source):
    assert len(list(dangers(source))) == 1


# --- names stay inside results/, and nothing reaches a shell -----------------------------------


CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def resolved_with(kind: str, name: str) -> None:
    """Resolve the demo's configuration with one more recording, preset, experiment or camera."""
    config = copy.deepcopy(CONFIG)
    if kind == "cameras":
        config["recordings"]["demo"]["cameras"][0] = name
    else:
        config[kind][name] = config["recordings"]["demo"] if kind == "recordings" else {}
    resolve(config, ROOT / "config/schemas")


BAD_NAMES = [
    *("", ".", "..", "../evil", "/etc/evil", "a/b", "a\\b", "a\0b", "~"),
    *("-rf", "--help", "a b", "a\n", "\na", "a\tb", "\u00fc", "\uff0fa", "a\u2028"),
    *("a;b", "$(touch a)", "`a`", "a|b", "a&b", "a>b", "'a'", '"a"', "*", "{recording}", "%s"),
]


@pytest.mark.parametrize("kind", ["recordings", "presets", "experiments", "cameras"])
def test_names_that_could_lead_elsewhere_are_refused(kind):
    for name in BAD_NAMES:
        with pytest.raises(
            PoseSplatterError, match=r"is not valid: .*give a name of letters, digits"
        ):
            resolved_with(kind, name)


@settings(deadline=None)
@given(
    kind=st.sampled_from(["recordings", "presets", "experiments", "cameras"]),
    name=st.text("aZ0_-./\\ \n\r\0~$;", max_size=6) | st.text(max_size=6),
)
def test_an_admitted_name_is_one_part_of_a_path(kind, name):
    try:
        resolved_with(kind, name)
    except PoseSplatterError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)
    assert os.path.normpath(f"results/{name}/file") == f"results/{name}/file"


def test_no_rule_has_a_shell_command():
    """Names reach scripts as Python's own values; Snakemake fills them into no command."""
    for path in [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]:
        for directive in ("shell", "run", "notebook", "wrapper", "cwl"):
            assert not re.search(rf"^\s+{directive}:", path.read_text(), re.MULTILINE), path


# --- the viewer --------------------------------------------------------------------------------


def test_the_viewer_listens_to_this_machine_alone(tmp_path):
    options = make_parser().parse_args(["view", "--experiment", "a", "--recording", "b"])
    assert options.host == "127.0.0.1"
    (tmp_path / "index.html").touch()
    with open_server(tmp_path, options.host, 0) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"
    with _scene_server() as scene:
        assert scene.get_host() == "127.0.0.1"
