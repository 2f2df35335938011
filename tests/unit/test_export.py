"""Exports: what other libraries read is what the model said."""

import json
import logging

import gsply
import numpy as np
import pytest
import torch
from plyfile import PlyData

from pose_splatter.dataset import Recording, carve_frame
from pose_splatter.errors import PoseSplatterError
from pose_splatter.export import POINT_OPACITY, choose_frames, to_splats, write_export
from pose_splatter.gaussians import Gaussians
from pose_splatter.model import NetworkConfig, PoseSplatter, render
from pose_splatter.splats import SH_C0, Splats, read_splats, write_splats

from ..conftest import balls_recording

STANDARD = (
    "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
)


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Six frames, every fifth of a video from its tenth on."""
    return balls_recording(np.arange(10, 40, 5), np.linspace(0, 2, 6))


@pytest.fixture(scope="module")
def model() -> PoseSplatter:
    """Not trained, but with weights that give every Gaussian a shape and colour of its own."""
    torch.manual_seed(0)
    model = PoseSplatter(NetworkConfig(unets=0, hidden=8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=1.2)
    return model.eval()


@torch.no_grad()
def gaussians_of(model: PoseSplatter, recording: Recording, frame: int) -> Gaussians:
    return model(carve_frame(recording, frame, recording.observed))


def random_splats(n: int) -> Splats:
    random = np.random.default_rng(0)
    quats = random.normal(size=(n, 4))
    return Splats(
        means=random.normal(size=(n, 3)).astype(np.float32) * 1000,
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=random.lognormal(size=(n, 3)).astype(np.float32),
        opacities=random.uniform(0.01, 0.99, n).astype(np.float32),
        colors=random.uniform(size=(n, 3)).astype(np.float32),
    )


def test_a_file_is_standard_to_two_other_libraries(tmp_path):
    """SuperSplat's rules: scales are logarithms, opacities logits, colours 0.5 + C0 f_dc."""
    splats, path = random_splats(300), tmp_path / "frame.ply"
    write_splats(path, splats)
    vertices = PlyData.read(path)["vertex"]
    assert [column.name for column in vertices.properties] == STANDARD.split()
    assert {column.val_dtype for column in vertices.properties} == {"f4"}
    tolerance = {"rtol": 2e-6, "atol": 1e-6}
    np.testing.assert_array_equal(np.stack([vertices[n] for n in "xyz"], 1), splats.means)
    np.testing.assert_array_equal(vertices["nz"], 0)
    np.testing.assert_allclose(np.exp(vertices["scale_1"]), splats.scales[:, 1], **tolerance)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertices["opacity"])), splats.opacities, rtol=3e-6)
    assert pytest.approx(0.28209479177387814) == SH_C0
    np.testing.assert_allclose(
        0.5 + 0.28209479177387814 * vertices["f_dc_2"], splats.colors[:, 2], **tolerance
    )
    other = gsply.plyread(path)
    np.testing.assert_array_equal(other.means, splats.means)
    np.testing.assert_array_equal(other.quats, splats.quats)
    np.testing.assert_allclose(np.exp(other.scales), splats.scales, **tolerance)
    np.testing.assert_allclose(other.sh0, (splats.colors - 0.5) / SH_C0, rtol=1e-5, atol=1e-5)


def test_files_come_back_as_they_were(tmp_path):
    """Opacities of exactly 0 and 1 too, whose logits are infinite."""
    splats = random_splats(50)
    splats.opacities[:2] = 0, 1
    write_splats(tmp_path / "frame.ply", splats)
    back = read_splats(tmp_path / "frame.ply")
    for name, array in vars(splats).items():
        np.testing.assert_allclose(getattr(back, name), array, rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.isfinite(PlyData.read(tmp_path / "frame.ply")["vertex"]["opacity"]).all()


def test_an_export_holds_the_models_gaussians(tmp_path, model, recording, caplog):
    folder = tmp_path / "export"
    with caplog.at_level(logging.INFO):
        write_export(folder, model, recording, [1, 2, 5], 30.0, "cpu")
    assert "absent in video frames [20], which are left out" in caplog.text
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.ply"))
    assert files == [
        f"{kind}/frame_{number:06d}.ply" for kind in ("gaussians", "points") for number in (15, 35)
    ]
    gaussians = gaussians_of(model, recording, 5)
    visible = gaussians.opacities.numpy() >= 1 / 255
    assert 0 < visible.sum() < len(visible), "some are so faint that they are left out"
    splats = read_splats(folder / "gaussians/frame_000035.ply")
    for name, tensor in vars(gaussians).items():
        np.testing.assert_allclose(
            getattr(splats, name), tensor.numpy()[visible], rtol=1e-5, atol=1e-6, err_msg=name
        )
    center = recording.track.centers[5]
    assert np.linalg.norm(splats.means.mean(axis=0) - center) < 30, "they lie in the world"
    points = PlyData.read(folder / "points/frame_000035.ply")["vertex"]
    opaque = gaussians.opacities.numpy() >= POINT_OPACITY
    assert [column.name for column in points.properties] == [*"xyz", "red", "green", "blue"]
    np.testing.assert_array_equal(points["y"], gaussians.means.numpy()[opaque, 1])
    np.testing.assert_allclose(points["blue"], gaussians.colors.numpy()[opaque, 2] * 255, atol=0.51)


def test_frames_json_describes_frames_and_cameras(tmp_path, model, recording):
    write_export(tmp_path / "export", model, recording, [0, 5], 30.0, "cpu")
    index = json.loads((tmp_path / "export/frames.json").read_text())
    assert index["frames"] == [10, 35]
    assert index["fps"] == 30
    camera = index["cameras"][1]
    assert [camera[key] for key in ("name", "role", "width", "height")] == ["1", "heldout", 80, 60]
    assert [camera["role"] for camera in index["cameras"]].count("observed") == 4
    point = np.array([10.0, 20.0, 30.0])
    u, v, w = np.array(camera["K"]) @ (np.array(camera["viewmat"]) @ [*point, 1])[:3]
    np.testing.assert_allclose([u / w, v / w], recording.rig.project(point)[0][1])


def test_what_is_left_out_changes_no_picture(model, recording):
    gaussians = gaussians_of(model, recording, 0)
    kept = Gaussians(**{k: torch.from_numpy(v) for k, v in vars(to_splats(gaussians)).items()})
    viewmats = torch.from_numpy(recording.rig.viewmats).float()
    Ks = torch.from_numpy(recording.rig.intrinsics).float()
    whole, rest = (render(g, viewmats, Ks, 80, 60).images for g in (gaussians, kept))
    torch.testing.assert_close(rest, whole, rtol=0, atol=1e-6)
    assert len(kept) < len(gaussians)
    assert whole.min() < 0.5


NUMBERS = np.arange(0, 300, 3)


def test_frames_are_spread_over_the_test_part():
    assert choose_frames("auto", 5, NUMBERS, range(60, 100)) == [60, 70, 80, 89, 99]
    assert choose_frames("auto", 30, NUMBERS, range(97, 100)) == [97, 98, 99]


def test_frames_are_numbers_of_the_video():
    assert choose_frames([27, 3], 30, NUMBERS, range(60, 100)) == [1, 9]
    assert choose_frames([28, 3], 30, NUMBERS, range(60, 100)) == [1], "another recording has 28"
    with pytest.raises(PoseSplatterError) as error:
        choose_frames([28], 30, NUMBERS, range(60, 100))
    assert "config: export: frames names 28, but the recording's frames are" in str(error.value)
    assert "0 to 297 in steps of 3; " in str(error.value)


def test_an_export_without_the_animal_is_refused(tmp_path, model, recording):
    with pytest.raises(PoseSplatterError, match="balls: the animal is absent in every frame"):
        write_export(tmp_path / "export", model, recording, [2], 30.0, "cpu")
    assert not list(tmp_path.iterdir())
