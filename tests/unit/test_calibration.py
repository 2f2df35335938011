"""Calibration files: each format against its own formula, told apart by content, checked."""

import json
import os
import pickle
import shutil
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from pose_splatter.calibration import read_calibration, read_cameras
from pose_splatter.calibration.checks import check_rig
from pose_splatter.cameras import (
    INTEGER_PIXEL_CENTRES,
    CameraRig,
    load_cameras,
    save_cameras,
    undistortion_maps,
)
from pose_splatter.errors import PoseSplatterError
from pose_splatter.paths import files_of

from ..conftest import Trap, look_at, ring_rig

DATA = Path(__file__).parents[1] / "data/calibration"
SIZE = (160, 120)
NAMES = ("north", "east", "south", "west")


def uneven_rig(n_cameras: int = 4) -> CameraRig:
    """A ring whose cameras are rolled, not quite alike, off centre and distorted: in our terms."""
    rig = ring_rig(n_cameras, *SIZE)
    random = np.random.default_rng(3)
    roll = Rotation.from_rotvec(random.normal(0, 0.2, (n_cameras, 3)) * [0.1, 0.1, 1]).as_matrix()
    intrinsics = rig.intrinsics + random.uniform(-4, 4, (n_cameras, 3, 3)) * [
        [[1, 0, 1], [0, 1, 1], [0, 0, 0]]
    ]
    return replace(
        rig,
        names=NAMES[:n_cameras],
        intrinsics=intrinsics,
        rotations=roll @ rig.rotations,
        translations=np.einsum("cij,cj->ci", roll, rig.translations),
        distortions=np.array([-0.2, 0.05, 0.004, -0.003, 0.02])
        * random.uniform(0.5, 1.5, (n_cameras, 5)),
    )


RIG = uneven_rig()
# As OpenCV and its like write it: the first pixel's centre is 0.
K = RIG.intrinsics - INTEGER_PIXEL_CENTRES
R, T, D = RIG.rotations, RIG.translations, RIG.distortions
SKEW = np.array([[0, 5.0, 0], [0, 0, 0], [0, 0, 0]])  # MATLAB's calibrator estimates it
POINTS = np.random.default_rng(1).uniform(-120, 120, (50, 3))


def brown(x, y, k1, k2, p1, p2, k3=0.0):
    """Brown's lens model on the normalised plane, as OpenCV's documentation writes it out."""
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def opencv_pixels(camera: int) -> np.ndarray:
    """Where cv2 sees the points: pixel centres at integers."""
    return cv2.projectPoints(POINTS, cv2.Rodrigues(R[camera])[0], T[camera], K[camera], D[camera])[
        0
    ][:, 0]


def video_pixels(rig: CameraRig, camera: int, points: np.ndarray) -> np.ndarray:
    """Where a rig puts points in the video as it was filmed, pixel centres at half-integers.

    From the pinhole's pixel to the video's goes by the maps that images are made with.
    """
    pinhole = rig.undistorted().project(points)[0][camera]
    maps = undistortion_maps(rig, camera)
    if maps is None:
        return pinhole
    places = pinhole[:, ::-1].T - 0.5
    return 0.5 + np.stack([map_coordinates(m, places, order=3, mode="nearest") for m in maps], -1)


def through_file(rig: CameraRig, folder: Path) -> CameraRig:
    save_cameras(folder / "cameras.h5", rig)
    return load_cameras(folder / "cameras.h5")


def read(path: Path, names=NAMES, size=SIZE) -> CameraRig:
    """What the workflow has of a calibration: read, written to cameras.h5 and read again."""
    folder = path if path.is_dir() else path.parent
    return through_file(read_calibration(path, names, *size), folder)


# --- every format, written as its program writes it --------------------------------------------


def write_hdf5(folder: Path) -> Path:
    path = folder / "calibration.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("camera_parameters")
        group["intrinsic"], group["rotation"], group["translation"] = K, R, T
        group["distortion"] = D
    return path


def matlab_params() -> list[dict[str, np.ndarray]]:
    return [
        {
            "K": (K[camera] + SKEW).T,
            "RDistort": D[camera, [0, 1, 4]][None],
            "TDistort": D[camera, [2, 3]][None],
            "r": R[camera].T,
            "t": T[camera][None],
        }
        for camera in range(len(RIG))
    ]


def cells(values: list) -> np.ndarray:
    """A MATLAB cell array, a column."""
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def write_dannce(folder: Path) -> Path:
    path = folder / "label3d_dannce.mat"
    savemat(path, {"params": cells(matlab_params()), "camnames": cells(list(NAMES)).T})
    return path


def write_dannce_73(folder: Path) -> Path:
    """MATLAB's -v7.3: HDF5 behind a header of text, cells as references, columns first."""
    path = folder / "label3d_dannce.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        references = np.empty((1, len(RIG)), dtype=h5py.ref_dtype)
        names = np.empty((len(RIG), 1), dtype=h5py.ref_dtype)
        for camera, struct in enumerate(matlab_params()):
            group = file.create_group(f"#refs#/{camera}")
            for field, value in struct.items():
                group[field] = value.T
            references[0, camera] = group.ref
            letters = np.array([[ord(letter)] for letter in NAMES[camera]], np.uint16)
            file[f"#refs#/name{camera}"] = letters
            file[f"#refs#/name{camera}"].attrs["MATLAB_class"] = np.bytes_("char")
            names[camera, 0] = file[f"#refs#/name{camera}"].ref
        file["params"], file["camnames"] = references, names
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def write_anipose(folder: Path) -> Path:
    text = ""
    for camera, name in enumerate(NAMES):
        text += f"""[cam_{camera}]
name = "{name}"
size = [ {SIZE[0]}, {SIZE[1]},]
matrix = {K[camera].tolist()}
distortions = {D[camera].tolist()}
rotation = {cv2.Rodrigues(R[camera])[0].ravel().tolist()}
translation = {T[camera].tolist()}

"""
    (folder / "calibration.toml").write_text(text + "[metadata]\nadjusted = true\nerror = 0.4\n")
    return folder / "calibration.toml"


def write_qualisys(folder: Path) -> Path:
    """Video cropped by 20 columns and 8 rows from the left and the top of a larger sensor."""
    cameras = ""
    for camera, name in enumerate(NAMES):
        (fu, _, cu), (_, fv, cv) = K[camera, :2] * 64
        axes = np.diag([1, -1, -1]) @ R[camera]
        entries = " ".join(f'r{i + 1}{j + 1}="{axes[i, j]}"' for i in range(3) for j in range(3))
        x, y, z = -R[camera].T @ T[camera]
        k1, k2, p1, p2, k3 = D[camera]
        cameras += f"""
    <camera active="1" avg-residual="0.4" serial="{name}" model="Miqus Video" viewrotation="0">
      <fov_video left="20" top="8" right="{19 + SIZE[0]}" bottom="{7 + SIZE[1]}"/>
      <fov_video_max left="0" top="0" right="239" bottom="159"/>
      <transform x="{x}" y="{y}" z="{z}" {entries}/>
      <intrinsic focallength="9.3" sensorMinU="0.0" sensorMaxU="{240 * 64 - 1}" sensorMinV="0.0"
       sensorMaxV="{160 * 64 - 1}" focalLengthU="{fu}" focalLengthV="{fv}" skew="0.000000"
       centerPointU="{cu + 20 * 64}" centerPointV="{cv + 8 * 64}" radialDistortion1="{k1}"
       radialDistortion2="{k2}" radialDistortion3="{k3}" tangentalDistortion1="{p1}"
       tangentalDistortion2="{p2}"/>
    </camera>"""
    text = '<?xml version="1.0"?>\n<calibration created="2024" type="regular"><cameras>'
    (folder / "rig.qca.txt").write_text(f"{text}{cameras}</cameras></calibration>")
    return folder / "rig.qca.txt"


def nerfstudio_frames() -> list[dict]:
    frames = []
    for camera, name in enumerate(NAMES):
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3], world_to_camera[:3, 3] = R[camera], T[camera]
        pose = np.linalg.inv(world_to_camera) @ np.diag([1, -1, -1, 1])
        lens = dict(zip(("k1", "k2", "p1", "p2", "k3"), D[camera].tolist(), strict=True))
        (fx, _, cx), (_, fy, cy) = RIG.intrinsics[camera, :2].tolist()
        frames.append(
            {"file_path": f"images/{name}.png", "transform_matrix": pose.tolist()}
            | {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
            | lens
        )
    return frames


def write_nerfstudio(folder: Path) -> Path:
    content = {"camera_model": "OPENCV", "w": SIZE[0], "h": SIZE[1], "frames": nerfstudio_frames()}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder / "transforms.json"


def write_opencv(path: Path, values: dict) -> Path:
    """By OpenCV itself; its suffix says whether YAML, XML or JSON."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in values.items():
        storage.write(name, value)
    storage.release()
    return path


def charuco(camera: int) -> dict:
    """The names of OpenCV's calibration samples, and the pose in the rig."""
    return {
        "calibration_time": "Mon 01 Jan 2024",
        "image_width": SIZE[0],
        "image_height": SIZE[1],
        "camera_matrix": K[camera],
        "distortion_coefficients": D[camera][None],
        "avg_reprojection_error": 0.3,
        "image_points": np.zeros((2, 4, 2)),
        "R": R[camera],
        "T": T[camera][:, None],
    }


def write_mammal(folder: Path) -> Path:
    """Undistorted videos: the maps hold what was undone."""
    maps = cv2.initUndistortRectifyMap(K[0], D[0], None, K[0], SIZE, cv2.CV_32FC1)
    cameras = [
        {"K": K[n], "R": R[n], "T": T[n][:, None], "mapx": maps[0], "mapy": maps[1]}
        for n in range(len(RIG))
    ]
    (folder / "new_cam.pkl").write_bytes(pickle.dumps(cameras))
    return folder / "new_cam.pkl"


def dannce_pixels(camera: int) -> np.ndarray:
    """DANNCE's own way: row vectors, and K on the right."""
    p = matlab_params()[camera]
    seen = POINTS @ p["r"] + p["t"]
    (k1, k2, k3), (p1, p2) = p["RDistort"][0], p["TDistort"][0]
    x, y = brown(*(seen[:, :2] / seen[:, 2:]).T, k1, k2, p1, p2, k3)
    return (np.stack([x, y, np.ones_like(x)], axis=1) @ p["K"])[:, :2]


def nerfstudio_pixels(camera: int) -> np.ndarray:
    """nerfstudio's own way: the world from the camera, y up, looking along -z."""
    frame = nerfstudio_frames()[camera]
    pose = np.array(frame["transform_matrix"])
    right, up, back = ((POINTS - pose[:3, 3]) @ pose[:3, :3]).T
    lens = [frame[key] for key in ("k1", "k2", "p1", "p2", "k3")]
    x, y = brown(right / -back, -up / -back, *lens)
    return np.stack([frame["fl_x"] * x + frame["cx"], frame["fl_y"] * y + frame["cy"]], axis=1)


def qualisys_pixels(camera: int) -> np.ndarray:
    """Pose2Sim's way: axes in rows, turned by half a turn about x, then OpenCV; 64ths; the crop."""
    axes = np.diag([1, -1, -1]) @ R[camera]  # the file's r11 to r33
    seen = (POINTS - (-R[camera].T @ T[camera])) @ axes.T * [1, -1, -1]
    k1, k2, p1, p2, k3 = D[camera]
    x, y = brown(*(seen[:, :2] / seen[:, 2:]).T, k1, k2, p1, p2, k3)
    (fu, _, cu), (_, fv, cv) = K[camera, :2] * 64
    crop = np.array([20, 8])
    return np.stack([fu * x + cu + 20 * 64, fv * y + cv + 8 * 64], axis=1) / 64 - crop


def pinhole_pixels(camera: int) -> np.ndarray:
    """MAMMAL's: K (R X + T), of videos without distortion."""
    seen = POINTS @ R[camera].T + T[camera]
    image = seen @ K[camera].T
    return image[:, :2] / image[:, 2:]


def write_opencv_maps(folder: Path, suffix: str = "yml") -> Path:
    """One file with a map per camera."""
    path = folder / f"rig.{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for camera, name in enumerate(NAMES):
        storage.startWriteStruct(name, cv2.FILE_NODE_MAP)
        for key, value in charuco(camera).items():
            storage.write(key, value)
        storage.endWriteStruct()
    storage.release()
    return path


def write_opencv_folder(folder: Path) -> Path:
    """A file per camera, with OpenCV's names."""
    (folder / "calib").mkdir()
    for camera, name in enumerate(NAMES):
        write_opencv(folder / f"calib/{name}.yaml", charuco(camera))
    return folder / "calib"


def write_jarvis(folder: Path) -> Path:
    """A file per camera, everything for row vectors: [X 1] [R; T] K."""
    (folder / "calib").mkdir()
    for camera, name in enumerate(NAMES):
        values = {
            "T": T[camera][:, None],
            "R": R[camera].T,
            "intrinsicMatrix": K[camera].T,
            "distortionCoefficients": D[camera][None],
        }
        write_opencv(folder / f"calib/{name}.yaml", values)
    return folder / "calib"


def write_easymocap(folder: Path) -> Path:
    (folder / "calib").mkdir()
    intrinsics, extrinsics = {}, {}
    for camera, name in enumerate(NAMES):
        intrinsics |= {f"K_{name}": K[camera], f"dist_{name}": D[camera][None]}
        vector = cv2.Rodrigues(R[camera])[0]
        extrinsics |= {
            f"R_{name}": vector,
            f"Rot_{name}": R[camera],
            f"T_{name}": T[camera][:, None],
        }
    write_opencv(folder / "calib/intri.yml", intrinsics)
    write_opencv(folder / "calib/extri.yml", extrinsics)
    return folder / "calib"


def write_plain_yaml(folder: Path) -> Path:
    """As PyYAML writes nested lists: no header, no OpenCV."""
    text = "".join(
        f"{name}:\n  K: {K[n].tolist()}\n  dist: {D[n].tolist()}\n"
        f"  rvec: {cv2.Rodrigues(R[n])[0].ravel().tolist()}\n  tvec: {T[n].tolist()}\n"
        for n, name in enumerate(NAMES)
    )
    (folder / "rig.yaml").write_text(text)
    return folder / "rig.yaml"


def write_opencv_xml(folder: Path) -> Path:
    return write_opencv_maps(folder, "xml")


def write_opencv_json(folder: Path) -> Path:
    return write_opencv_maps(folder, "json")


WRITERS = {
    write_hdf5: (opencv_pixels, 0.5),
    write_mammal: (pinhole_pixels, 0.5),
    write_dannce: (dannce_pixels, 0.5),
    write_dannce_73: (dannce_pixels, 0.5),
    write_anipose: (opencv_pixels, 0.5),
    write_qualisys: (qualisys_pixels, 0.5),
    write_opencv_maps: (opencv_pixels, 0.5),
    write_opencv_xml: (opencv_pixels, 0.5),
    write_opencv_json: (opencv_pixels, 0.5),
    write_opencv_folder: (opencv_pixels, 0.5),
    write_jarvis: (opencv_pixels, 0.5),
    write_easymocap: (opencv_pixels, 0.5),
    write_plain_yaml: (opencv_pixels, 0.5),
    write_nerfstudio: (nerfstudio_pixels, 0.0),
}
UNNAMED = (write_hdf5, write_mammal)


def title(write) -> str:
    return write.__name__.removeprefix("write_")


@pytest.mark.parametrize("write", WRITERS, ids=title)
def test_points_fall_where_the_formats_own_formula_puts_them(tmp_path, write):
    pixels, half = WRITERS[write]
    rig = read(write(tmp_path))
    assert rig.names == NAMES
    for camera in range(len(rig)):
        expected = pixels(camera) + half
        np.testing.assert_allclose(video_pixels(rig, camera, POINTS), expected, atol=1e-3)


@pytest.mark.parametrize("write", WRITERS, ids=title)
def test_content_tells_the_format_and_names_find_the_cameras(tmp_path, write):
    """Under a suffix that means nothing, and for a recording of three cameras, in another order."""
    path = write(tmp_path)
    if path.is_file():
        path = path.rename(tmp_path / "calibration.txt")
    if write in UNNAMED:
        assert {camera.name for camera in read_cameras(path).cameras} == {None}
        return
    wanted = (NAMES[3], NAMES[0], NAMES[2])
    rig, whole = read_calibration(path, wanted, *SIZE), read_calibration(path, NAMES, *SIZE)
    np.testing.assert_array_equal(rig.viewmats, whole.viewmats[[3, 0, 2]])


def test_the_originals_own_layout_has_no_distortion(tmp_path):
    path = write_hdf5(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["camera_parameters/distortion"]
    rig = read(path)
    for camera in range(len(rig)):
        seen = POINTS @ R[camera].T + T[camera]
        expected = (seen @ K[camera].T)[:, :2] / seen[:, 2:] + 0.5
        np.testing.assert_allclose(video_pixels(rig, camera, POINTS), expected, atol=1e-3)


# --- real files --------------------------------------------------------------------------------


def test_label3d_labels_fall_where_they_were_clicked(tmp_path):
    """The real mouse: 3D labels against the 2D labels that Label3D kept of all six cameras."""
    names = tuple(f"Camera{number}" for number in range(1, 7))
    rig = read_calibration(DATA / "dannce_label3d.mat", names, 1152, 1024)
    rig = through_file(rig, tmp_path)
    labels = loadmat(DATA / "dannce_label3d.mat", simplify_cells=True)["labelData"]
    for camera, label in enumerate(labels):
        points, pixels = label["data_3d"].reshape(-1, 3), label["data_2d"].reshape(-1, 2)
        seen = np.isfinite(points).all(axis=1) & np.isfinite(pixels).all(axis=1)
        assert seen.sum() > 200
        there = video_pixels(rig, camera, points[seen]) - 0.5
        np.testing.assert_allclose(there, pixels[seen], atol=1e-3)


def test_qualisys_and_what_pose2sim_makes_of_it_are_one_rig(tmp_path):
    """But for the distortion, which Pose2Sim divides by 64, and metres."""
    names = ("cam01", "cam02", "cam03", "cam04")
    ours, theirs = (
        through_file(read_calibration(DATA / name, names, 1088, 1920), tmp_path)
        for name in ("pose2sim.qca.txt", "pose2sim.toml")
    )
    points = np.random.default_rng(0).uniform([-800, -800, 100], [800, 800, 1700], (30, 3))
    np.testing.assert_allclose(ours.project(points)[0], theirs.project(points / 1000)[0], atol=1e-3)
    np.testing.assert_allclose(ours.distortions, theirs.distortions * 64, rtol=1e-6)


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_colmap_sees_points_where_colmap_does(tmp_path, kind):
    """Eight lens models; the points are COLMAP's own (pycolmap's img_from_cam)."""
    points = pd.read_csv(DATA / "colmap_points.csv")
    names = tuple(points["camera"].unique())
    assert [camera.name for camera in read_cameras(DATA / f"colmap_{kind}").cameras] == list(names)
    rig = read_calibration(DATA / f"colmap_{kind}", names, 320, 240)
    assert rig.fisheye == names[5:]
    rig = through_file(rig, tmp_path)
    for camera, name in enumerate(names):
        rows = points[points["camera"] == name]
        seen = video_pixels(rig, camera, rows[["x", "y", "z"]].to_numpy())
        np.testing.assert_allclose(seen, rows[["u", "v"]], atol=1e-3)


# --- lenses, pairs and files per camera --------------------------------------------------------


@pytest.mark.parametrize("count", [4, 5, 8, 12, 14])
def test_long_distortions_are_carried_through(tmp_path, count):
    """Rational, thin-prism and tilted lenses, as cv2 projects through them."""
    lens = np.array([-0.2, 0.05, 0.004, -0.003, 0.02, 0.1, 0.03, 0.01, *[2e-3] * 4, 0.01, 0.02])
    lens = lens[:count]
    text = write_anipose(tmp_path).read_text()
    text = text.replace(str(D[1].tolist()), str(lens.tolist()))
    (tmp_path / "calibration.toml").write_text(text)
    rig = read(tmp_path / "calibration.toml")
    assert rig.distortions.shape == (4, max(count, 5))
    pose = cv2.Rodrigues(R[1])[0], T[1]
    expected = cv2.projectPoints(POINTS, *pose, K[1], lens)[0][:, 0] + 0.5
    np.testing.assert_allclose(video_pixels(rig, 1, POINTS), expected, atol=1e-3)
    np.testing.assert_allclose(video_pixels(rig, 0, POINTS), opencv_pixels(0) + 0.5, atol=1e-3)


FISHEYE = np.array([0.1, -0.05, 0.02, -0.01])


def fisheye_pixels(camera: int) -> np.ndarray:
    """Kannala and Brandt's polynomial of the angle off axis, pixel centres at integers."""
    seen = POINTS @ R[camera].T + T[camera]
    radius = np.hypot(seen[:, 0], seen[:, 1])
    angle = np.arctan2(radius, seen[:, 2])
    bent = angle * (1 + sum(k * angle ** (2 * n + 2) for n, k in enumerate(FISHEYE)))
    return (
        bent[:, None] * seen[:, :2] / radius[:, None] * K[camera, [0, 1], [0, 1]] + K[camera, :2, 2]
    )


def fisheye_anipose(folder: Path) -> Path:
    text = write_anipose(folder).read_text()
    for lens in D:
        text = text.replace(str(lens.tolist()), f"{FISHEYE.tolist()}\nfisheye = true")
    (folder / "calibration.toml").write_text(text)
    return folder / "calibration.toml"


def fisheye_nerfstudio(folder: Path) -> Path:
    lens = dict(zip(("k1", "k2", "k3", "k4"), FISHEYE.tolist(), strict=True)) | {"p1": 0, "p2": 0}
    frames = [frame | lens for frame in nerfstudio_frames()]
    content = {"camera_model": "OPENCV_FISHEYE", "w": SIZE[0], "h": SIZE[1], "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder / "transforms.json"


def fisheye_instant_ngp(folder: Path) -> Path:
    """As colmap2nerf marks it, and all coefficients in one list, as nerfstudio prefers them."""
    lens = {"is_fisheye": True, "distortion_params": [*FISHEYE.tolist(), 0, 0]}
    frames = [
        {key: value for key, value in frame.items() if key not in ("k1", "k2", "k3", "p1", "p2")}
        for frame in nerfstudio_frames()
    ]
    content = {"w": SIZE[0], "h": SIZE[1], "frames": [frame | lens for frame in frames]}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder / "transforms.json"


def fisheye_ros(folder: Path) -> Path:
    """ROS's names, in plain YAML."""
    blocks = [
        f"{name}:\n  distortion_model: equidistant\n"
        f"  camera_matrix: {{rows: 3, cols: 3, data: {K[n].ravel().tolist()}}}\n"
        f"  distortion_coefficients: {{rows: 1, cols: 4, data: {FISHEYE.tolist()}}}\n"
        f"  extrinsics: {np.column_stack([R[n], T[n]]).tolist()}\n"
        for n, name in enumerate(NAMES)
    ]
    (folder / "rig.yaml").write_text("".join(blocks))
    return folder / "rig.yaml"


def fisheye_opencv(folder: Path) -> Path:
    (folder / "calib").mkdir()
    for camera, name in enumerate(NAMES):
        lens = {"distortion_coefficients": FISHEYE[:, None], "fisheye_model": 1}
        write_opencv(folder / f"calib/{name}.yml", charuco(camera) | lens)
    return folder / "calib"


@pytest.mark.parametrize(
    "write",
    [fisheye_anipose, fisheye_nerfstudio, fisheye_instant_ngp, fisheye_opencv, fisheye_ros],
)
def test_fisheye_lenses(tmp_path, write):
    rig = read(write(tmp_path))
    assert rig.fisheye == NAMES
    assert rig.subset([2]).undistorted().fisheye == ()
    for camera in range(len(rig)):
        expected = fisheye_pixels(camera) + 0.5
        np.testing.assert_allclose(video_pixels(rig, camera, POINTS), expected, atol=1e-3)


def test_names_that_look_like_numbers(tmp_path):
    """YAML would take 007 for 7, and 010 for 8."""
    path = write_plain_yaml(tmp_path)
    text = path.read_text()
    names = ("007", "010", "1_000", "4")
    for old, new in zip(NAMES, names, strict=True):
        text = text.replace(f"{old}:\n", f"{new}:\n")
    path.write_text(text)
    assert [camera.name for camera in read_cameras(path).cameras] == list(names)


def test_stereo_pair_of_opencvs_sample(tmp_path):
    """intrinsics.yml and extrinsics.yml: the world is the first camera's."""
    relative = R[1] @ R[0].T
    shift = T[1] - relative @ T[0]
    write_opencv(tmp_path / "intrinsics.yml", {"M1": K[0], "D1": D[0], "M2": K[1], "D2": D[1]})
    rectified = {"R1": R[2], "R2": R[3], "P1": np.eye(3, 4), "P2": np.eye(3, 4), "Q": np.eye(4)}
    write_opencv(tmp_path / "extrinsics.yml", {"R": relative, "T": shift[:, None]} | rectified)
    rig = read(tmp_path, ("left", "right"))
    for camera in range(2):
        seen = video_pixels(rig, camera, POINTS @ R[0].T + T[0])
        np.testing.assert_allclose(seen, opencv_pixels(camera) + 0.5, atol=1e-3)


def test_values_beside_the_cameras_hold_for_all(tmp_path):
    """A size and a lens, but for the camera that has its own."""
    text = f"image_width: {SIZE[0]}\nimage_height: {SIZE[1]}\ndist: {D[0].tolist()}\n" + "".join(
        f"{name}:\n  K: {K[n].tolist()}\n  R: {R[n].tolist()}\n  T: {T[n].tolist()}\n"
        for n, name in enumerate(NAMES)
    )
    own = f"  width: 64\n  distortion_coefficients: {D[3].tolist()}\n"  # of the last
    (tmp_path / "rig.yaml").write_text(text + own)
    cameras = read_cameras(tmp_path / "rig.yaml").cameras
    assert [camera.name for camera in cameras] == list(NAMES)
    assert [camera.size for camera in cameras] == [SIZE] * 3 + [(64, SIZE[1])]
    for camera, lens in zip(cameras, D[[0, 0, 0, 3]], strict=True):
        np.testing.assert_array_equal(camera.distortion, lens)


def test_a_camera_with_a_size_of_its_own_beside_a_common_width_and_height(tmp_path):
    """In maps, and with the cameras' names at the end of every name."""
    nested = "image_width: 64\nimage_height: 48\n" + "".join(
        f"{name}:\n  K: {K[n].tolist()}\n  R: {R[n].tolist()}\n  T: {T[n].tolist()}\n"
        for n, name in enumerate(NAMES)
    )
    ended = "image_width: 64\nimage_height: 48\n" + "".join(
        f"K_{name}: {K[n].tolist()}\nR_{name}: {R[n].tolist()}\nT_{name}: {T[n].tolist()}\n"
        for n, name in enumerate(NAMES)
    )
    texts = (nested + "  image_size: [80, 60]\n", ended + f"size_{NAMES[-1]}: [80, 60]\n")
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yaml").write_text(text)
        cameras = read_cameras(tmp_path / f"{number}.yaml").cameras
        assert [camera.size for camera in cameras] == [(64, 48)] * 3 + [(80, 60)]


def test_a_width_without_a_height(tmp_path):
    path = write_plain_yaml(tmp_path)
    path.write_text(path.read_text() + f"  image_width: {SIZE[0]}\n")
    with pytest.raises(PoseSplatterError, match=r"camera west .*not both; write image_width and"):
        read_cameras(path)


def test_a_file_per_camera(tmp_path):
    """DANNCE's {camera}_params.mat, each with the variables of one camera."""
    for camera, name in enumerate(NAMES):
        savemat(tmp_path / f"hires_{name}_params.mat", matlab_params()[camera])
    pattern = tmp_path / "hires_{camera}_params.mat"
    rig = through_file(read_calibration(pattern, NAMES, *SIZE), tmp_path)
    for camera in range(len(rig)):
        seen = video_pixels(rig, camera, POINTS)
        np.testing.assert_allclose(seen, dannce_pixels(camera) + 0.5, atol=1e-3)
    assert files_of(pattern, NAMES)[1] == tmp_path / "hires_east_params.mat"
    shutil.copy(write_anipose(tmp_path), tmp_path / "hires_east_params.mat")
    with pytest.raises(PoseSplatterError, match=r"east_params\.mat: .* 4 cameras, .* east's alone"):
        read_calibration(pattern, NAMES, *SIZE)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    path = write_anipose(tmp_path)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PoseSplatterError, match=r"calibration\.toml: .*Permission denied"):
        read_calibration(path, NAMES, *SIZE)


def test_files_of_a_folder(tmp_path):
    assert files_of(write_easymocap(tmp_path), NAMES) == [
        tmp_path / "calib/extri.yml",
        tmp_path / "calib/intri.yml",
    ]
    assert files_of("a.toml", NAMES) == [Path("a.toml")]


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_pickles_of_all_protocols_and_of_both_numpys(tmp_path, protocol, core):
    cameras = [{"K": K[n], "R": R[n], "T": T[n], "id": np.int64(n)} for n in range(4)]
    content = pickle.dumps(dict(enumerate(cameras)), protocol=protocol)
    if protocol == 2:  # where names are spelt without their lengths
        content = content.replace(b"numpy._core", core)
    (tmp_path / "new_cam.pkl").write_bytes(content)
    rig = read_calibration(tmp_path / "new_cam.pkl", NAMES, *SIZE)
    np.testing.assert_array_equal(rig.rotations, R)


# --- what cannot be ----------------------------------------------------------------------------


def changed(**arrays):
    """The rig in HDF5, with some arrays changed by functions."""

    def write(folder: Path) -> Path:
        path = write_hdf5(folder)
        with h5py.File(path, "r+") as file:
            for name, change in arrays.items():
                array = file[f"camera_parameters/{name}"][:]
                change(array)
                file[f"camera_parameters/{name}"][:] = array
        return path

    return write


def put(index, value):
    """A change of an array: other numbers at an index."""

    def change(array):
        array[index] = value

    return change


def scaled(index, factor):
    def change(array):
        array[index] = array[index] * factor

    return change


def turned(cameras, *signs):
    """Other axes of some cameras, which stay where they are."""
    signs = np.array(signs)
    return changed(rotation=scaled(cameras, signs[:, None]), translation=scaled(cameras, signs))


def transposed(array):
    array[:] = array.swapaxes(1, 2).copy()


def repeated(array):
    array[1] = array[0]


RIG_CASES = {
    "NaN in a matrix": (changed(intrinsic=put((2, 0, 0), np.nan)), "south .*NaN"),
    "NaN in a rotation": (changed(rotation=put((1, 0, 0), np.nan)), "east .*NaN"),
    "infinite translation": (changed(translation=put((3, 1), np.inf)), "west .*infinite"),
    "NaN in the distortion": (changed(distortion=put((0, 1), np.nan)), "north .*NaN"),
    "stretched rotation": (changed(rotation=scaled(2, 1.1)), "south .*orthonormal"),
    "mirrored camera": (changed(rotation=scaled((2, 0), -1)), "south .*mirrored"),
    "mirrored rig": (changed(rotation=scaled((slice(None), 0), -1)), "north .*mirrored"),
    "transposed intrinsics": (
        changed(intrinsic=transposed),
        "north .*transposed",
    ),
    "calibrated at twice the size": (
        changed(intrinsic=scaled((slice(None), slice(2)), 2)),
        r"do not fit its video of 160 x 120 pixels; use the calibration made at .*docs/calib",
    ),
    "principal point outside": (changed(intrinsic=put((1, 0, 2), 170.0)), "east .*do not fit"),
    "negative focal length": (changed(intrinsic=put((1, 0, 0), -300.0)), "east .*not above 0"),
    "one place": (changed(translation=put(slice(None), 0.0)), "all cameras stand at one place"),
    "a camera twice": (
        changed(rotation=repeated, translation=repeated),
        "cameras north and east stand at one place",
    ),
    "metres among millimetres": (changed(translation=scaled(1, 1e-3)), "east is .*one unit"),
    "millimetres among metres": (changed(translation=scaled(3, 1e3)), "west is .*one unit"),
    "a camera looks away": (turned(2, -1, 1, -1), "camera south looks away"),
    "OpenGL's axes": (turned(slice(None), 1, -1, -1), "look away from each other"),
    "camera-to-world": (
        changed(rotation=transposed, translation=put(slice(None), RIG.centers)),
        "looks? away",
    ),
    "width and height swapped": (
        changed(intrinsic=put((slice(None), [0, 1], [2, 2]), [59.5, 79.5])),
        "width and height are swapped; turn the videos",
    ),
}


@pytest.mark.parametrize("case", RIG_CASES)
def test_a_rig_that_cannot_be_is_refused(tmp_path, case):
    write, words = RIG_CASES[case]
    with pytest.raises(PoseSplatterError, match=rf"calibration\.h5: .*{words}") as refused:
        read_calibration(write(tmp_path), NAMES, *SIZE)
    assert "\n" not in str(refused.value)


def write_opencv_each(folder: Path, unsized: Sequence[int] = (1, 2, 3)) -> Path:
    """A file per camera; some do not say the images' size."""
    for camera, name in enumerate(NAMES):
        values = charuco(camera)
        if camera in unsized:
            del values["image_width"], values["image_height"]
        write_opencv(folder / f"{name}.yaml", values)
    return folder / "{camera}.yaml"


@pytest.mark.parametrize("write", [write_anipose, write_qualisys, write_opencv_each])
def test_a_cropped_sensor_takes_a_file_that_says_the_size(tmp_path, monkeypatch, write):
    """Else its principal point, far off the middle, looks like that of larger images."""
    cropped = K.copy()
    cropped[0, 0, 2] = 130.0
    monkeypatch.setitem(globals(), "K", cropped)
    with pytest.raises(PoseSplatterError, match=r"north .*do not fit .*if .*cropped"):
        read_calibration(write_hdf5(tmp_path), NAMES, *SIZE)
    rig = read_calibration(write(tmp_path), NAMES, *SIZE)
    np.testing.assert_allclose(rig.intrinsics[0, 0, 2], 130.5)


def test_one_camera_without_a_size_is_not_taken_for_a_turned_rig(tmp_path, monkeypatch):
    """Its principal point alone would suit images of swapped width and height."""
    lone = K.copy()
    lone[1, :2, 2] = [59.5, 79.5]
    monkeypatch.setitem(globals(), "K", lone)
    path = write_opencv_each(tmp_path, unsized=[1])
    rig = read_calibration(path, NAMES, *SIZE)
    np.testing.assert_allclose(rig.intrinsics[1, :2, 2], [60, 80])


def test_a_principal_point_outside_images_of_a_known_size(tmp_path, monkeypatch):
    beside = K.copy()
    beside[1, 0, 2] = 170.0
    monkeypatch.setitem(globals(), "K", beside)
    with pytest.raises(PoseSplatterError, match=r"east .*outside its images.*; calibrate it again"):
        read_calibration(write_anipose(tmp_path), NAMES, *SIZE)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_cameras=st.integers(2, 8),
    unit=st.sampled_from([1e-3, 1.0, 25.4]),
    world=st.sampled_from(["animal", "first camera", "elsewhere"]),
)
@settings(max_examples=60, deadline=None)
def test_a_sound_rig_is_not_refused(seed, n_cameras, unit, world):
    """Cameras anywhere around an animal, in any unit, in a world laid anywhere."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(n_cameras, 3)) * [1, 1, 0.6]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    eyes = directions * random.uniform(300, 1500, (n_cameras, 1))
    rotations = np.stack([look_at(eye, random.uniform(-30, 30, 3)) for eye in eyes])
    origin, axes = {
        "animal": (np.zeros(3), np.eye(3)),
        "first camera": (eyes[0], rotations[0]),
        "elsewhere": (random.normal(0, 5000, 3), Rotation.random(rng=random).as_matrix()),
    }[world]
    focal = random.uniform(0.7, 2.0) * SIZE[0]
    rig = CameraRig(
        names=tuple(map(str, range(n_cameras))),
        width=SIZE[0],
        height=SIZE[1],
        intrinsics=np.tile(
            np.array([[focal, 0, 80], [0, focal, 60], [0, 0, 1]]), (n_cameras, 1, 1)
        ),
        rotations=rotations @ axes.T,
        translations=unit * np.einsum("cij,cj->ci", rotations, origin - eyes),
        distortions=np.zeros((n_cameras, 5)),
    )
    check_rig("rig", rig, sized=())


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("pair", [[0, 1], [0, 2], [1, 2]])
def test_two_cameras_of_different_units_are_refused(pair, factor):
    """Nothing says which of them is wrong."""
    pair = RIG.subset(pair)
    check_rig("rig", pair, sized=pair.names)
    mixed = replace(pair, translations=pair.translations * [[1.0], [factor]])
    with pytest.raises(PoseSplatterError, match=r"camera \w+ is .*, camera \w+ .* one unit"):
        check_rig("rig", mixed, sized=mixed.names)


def test_two_parallel_cameras_are_not_refused():
    """A stereo rig whose world was laid into the first camera, which was moved by a hair."""
    pair = RIG.subset([0, 1])
    pair = replace(
        pair,
        rotations=np.stack([np.eye(3)] * 2),
        translations=np.array([[0.01, 0, 0.02], [-60.0, 0, 0]]),
    )
    check_rig("rig", pair, sized=pair.names)


def pair_near_the_first_camera(eyes, targets) -> CameraRig:
    """Two cameras with wide lenses, in the first one's world, which was moved by a hair."""
    rotations = np.stack([look_at(eye, target) for eye, target in zip(eyes, targets, strict=True)])
    world = np.einsum("ij,cj->ci", rotations[0], eyes - eyes[0] - [0.01, 0.02, 0.01])
    rotations = rotations @ rotations[0].T
    focal = 0.4 * SIZE[0]
    return CameraRig(
        names=("a", "b"),
        width=SIZE[0],
        height=SIZE[1],
        intrinsics=np.tile(np.array([[focal, 0, 80], [0, focal, 60], [0, 0, 1]]), (2, 1, 1)),
        rotations=rotations,
        translations=-np.einsum("cij,cj->ci", rotations, world),
        distortions=np.zeros((2, 5)),
    )


@pytest.mark.parametrize("degrees", [0.0, 5.0, 24.0, 30.0])
def test_a_stereo_pair_that_toes_out_is_not_refused(degrees):
    """Their axes meet behind them, as those of a camera in another unit do."""
    eyes = np.array([[0.0, 0, 0], [60, 0, 0]])
    side = 1000 * np.tan(np.radians(degrees / 2))
    targets = eyes + np.array([[-side, 1000, 5.0], [side, 1000, 0]])
    check_rig("rig", pair_near_the_first_camera(eyes, targets), sized=("a", "b"))


@pytest.mark.parametrize("seed", range(100))
def test_a_pair_that_looks_at_different_places_of_an_arena_is_not_refused(seed):
    random = np.random.default_rng(seed)
    eyes = random.normal(size=(2, 3)) * [1, 1, 0.6]
    eyes *= random.uniform(300, 1500, (2, 1)) / np.linalg.norm(eyes, axis=1, keepdims=True)
    check_rig(
        "rig", pair_near_the_first_camera(eyes, random.uniform(-100, 100, (2, 3))), sized=("a", "b")
    )


def test_a_camera_at_the_worlds_origin_is_no_mistake(tmp_path):
    """A world laid into the first camera, which an adjustment then moved by a hair."""
    rotations, translations = R @ R[0].T, T - np.einsum("cij,j->ci", R @ R[0].T, T[0])
    translations[0] = [0.01, 0, 0.02]
    path = changed(
        rotation=put(slice(None), rotations), translation=put(slice(None), translations)
    )(tmp_path)
    rig = read_calibration(path, NAMES, *SIZE)
    assert rig.names == NAMES
    for other in 1, 2, 3:
        check_rig("rig", rig.subset([0, other]), sized=NAMES)


@pytest.mark.parametrize("write", [write_anipose, write_qualisys, write_mammal, write_nerfstudio])
@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((120, 160), "north was .*160 x 120 pixels, but its video has 120 x 160; .*swapped"),
        ((320, 240), "north was .*160 x 120 pixels, but its video has 320 x 240; use the"),
    ],
)
def test_videos_of_another_size_than_calibrated(tmp_path, write, size, words):
    with pytest.raises(PoseSplatterError, match=words):
        read_calibration(write(tmp_path), NAMES, *size)


def test_cameras_are_matched_by_name_or_by_place_and_never_by_half(tmp_path):
    path = write_anipose(tmp_path)
    assert read_calibration(path, ("0", "1", "2", "3"), *SIZE).names == ("0", "1", "2", "3")
    with pytest.raises(PoseSplatterError, match=r"toml: the file has no camera up, .*north, east"):
        read_calibration(path, ("up", "north", "south"), *SIZE)
    with pytest.raises(PoseSplatterError, match=r"holds 4 cameras: north.* recording lists 2"):
        read_calibration(path, ("a", "b"), *SIZE)
    path.write_text(path.read_text().replace('"east"', '"north"'))
    with pytest.raises(PoseSplatterError, match="more than one camera north"):
        read_calibration(path, NAMES, *SIZE)


# --- files that are not what they should be ----------------------------------------------------


def text(name: str, content: str | bytes):
    def write(folder: Path) -> Path:
        content_bytes = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(content_bytes)
        return folder / name

    return write


def edited(write, old: str, new: str, count: int = -1):
    """A file of one of the writers, with words replaced."""

    def spoil(folder: Path) -> Path:
        path = write(folder)
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new, count))
        return path

    return spoil


def cut(write):
    """A file that ends in its middle."""

    def spoil(folder: Path) -> Path:
        path = write(folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
        return path

    return spoil


def trap_pickle(folder: Path) -> Path:
    path = write_mammal(folder)
    path.write_bytes(pickle.dumps([{"K": K[0], "R": R[0], "T": Trap(folder / "ran")}]))
    return path


def trap_yaml(folder: Path) -> Path:
    path = folder / "rig.yaml"
    marker = folder / "ran"
    path.write_text(f"%YAML:1.0\n---\nK: !!python/object/apply:os.mkdir ['{marker}']\n")
    return path


def without_rotation(folder: Path) -> Path:
    values = {key: value for key, value in charuco(0).items() if key not in ("R", "T")}
    return write_opencv(folder / "charuco.yaml", values)


def many_boards(folder: Path) -> Path:
    values = {key: value for key, value in charuco(0).items() if key not in ("R", "T")}
    return write_opencv(folder / "out.xml", values | {"extrinsic_parameters": np.zeros((12, 6))})


def colmap_model(model: str):
    def write(folder: Path) -> Path:
        (folder / "sparse").mkdir()
        (folder / "sparse/cameras.txt").write_text(f"1 {model} 160 120 300 80 60 0.1\n")
        (folder / "sparse/images.txt").write_text("1 1 0 0 0 0 0 0 1 a.png\n\n")
        return folder / "sparse"

    return write


def empty_mat(folder: Path) -> Path:
    savemat(folder / "labels.mat", {"labels": np.eye(3)})
    return folder / "labels.mat"


def short_rotation(folder: Path) -> Path:
    params = matlab_params()
    params[2]["r"] = np.zeros((2, 3))
    savemat(folder / "p.mat", {"params": cells(params)})
    return folder / "p.mat"


def opencv_nan(folder: Path) -> Path:
    path = write_opencv_folder(folder)
    write_opencv(path / "south.yaml", charuco(2) | {"T": np.full((3, 1), np.nan)})
    return path


def other_hdf5(folder: Path) -> Path:
    h5py.File(folder / "c.h5", "w").close()
    return folder / "c.h5"


def without_arrays(folder: Path) -> Path:
    with h5py.File(folder / "c.h5", "w") as file:
        file["camera_parameters/intrinsic"] = K
    return folder / "c.h5"


def renamed_lens(name: str) -> dict:
    """A charuco file whose lens stands under a name of its own."""
    content = charuco(0)
    return {name if key == "distortion_coefficients" else key: v for key, v in content.items()}


@pytest.mark.parametrize("name", ["distCoef", "distortion_coeffs", "distortionCoeffs", "kc"])
def test_other_names_of_a_lens(tmp_path, name):
    """Panoptic Studio's, Kalibr's and others': a lens that is not read is wrong without a word."""
    plain = read_calibration(write_opencv(tmp_path / "a.yml", charuco(0)), NAMES[:1], *SIZE)
    renamed = write_opencv(tmp_path / "b.yml", renamed_lens(name))
    found = read_calibration(renamed, NAMES[:1], *SIZE)
    assert plain.distortions.any()
    np.testing.assert_array_equal(found.distortions, plain.distortions)


def uneven_counts(folder: Path) -> Path:
    with h5py.File(folder / "c.h5", "w") as file:
        group = file.create_group("camera_parameters")
        group["intrinsic"], group["rotation"], group["translation"] = K, R, T[:3]
    return folder / "c.h5"


FILE_CASES = {
    "nothing there": (lambda folder: folder / "no.toml", r"no\.toml: no such calibration"),
    "an empty file": (text("c.toml", ""), r"c\.toml: cannot read .*no known format"),
    "an empty folder": (lambda folder: folder, "no known format"),
    "a picture": (text("c.png", b"\x89PNG\r\n\x1a\n" + bytes(50)), "no known format"),
    "prose": (text("c.txt", "ask Anna for the calibration\n"), "no known format"),
    "other HDF5": (other_hdf5, "camera_parameters lacks intrinsic, rotation, translation"),
    "HDF5 lacks arrays": (without_arrays, "lacks rotation, translation"),
    "HDF5 of uneven counts": (uneven_counts, "of 4, 4, 3 and 4 cameras"),
    "a pickle that runs code": (
        trap_pickle,
        r"new_cam\.pkl: .*posix\.mkdir.*nothing in it was run",
    ),
    "a YAML with a tag": (trap_yaml, r"rig\.yaml: the YAML has a tag .*nothing in it was run"),
    "a pickle of something else": (text("a.pkl", pickle.dumps([1, 2])), "no list of one dict"),
    "a pickle cut short": (cut(write_mammal), r"new_cam\.pkl: .*(damaged|cut short)"),
    "a .mat cut short": (cut(write_dannce), r"dannce\.mat: .*damaged"),
    "TOML cut short": (cut(write_anipose), r"calibration\.toml: .*damaged or cut short"),
    "XML cut short": (cut(write_qualisys), r"qca\.txt: .*damaged or cut short"),
    "JSON cut short": (cut(write_nerfstudio), r"transforms\.json: .*damaged or cut short"),
    "YAML cut short": (cut(write_opencv_maps), r"rig\.yml: "),
    "HDF5 cut short": (cut(write_hdf5), r"calibration\.h5: cannot read"),
    "a .mat of labels": (empty_mat, r"labels\.mat: .*no params"),
    "a rotation of two rows": (short_rotation, r"camera 2: r has shape \(2, 3\)"),
    "words for numbers": (
        edited(write_anipose, "translation = [", 'translation = ["x", '),
        "camera north: the translation is missing or no array",
    ),
    "no translation": (
        edited(write_anipose, "translation", "shift"),
        "camera north: the translation is missing",
    ),
    "too many coefficients": (
        edited(write_anipose, str(D[1].tolist()), str([0.1] * 15)),
        "east has 15 distortion coefficients, of which at most 14",
    ),
    "NaN as OpenCV writes it": (
        opencv_nan,
        "camera south .* NaN",
    ),
    "a charuco file alone": (without_rotation, r"charuco\.yaml: .*no rotation and translation"),
    "poses of many boards": (many_boards, r"out\.xml: .*extrinsics of shape \(12, 6\)"),
    "YAML about other things": (text("c.yaml", "weather: fine\n"), "no intrinsic .*under weather"),
    "a camera turned in QTM": (
        edited(write_qualisys, 'viewrotation="0"', 'viewrotation="90"', 1),
        "camera north is turned by viewrotation 90",
    ),
    "binned Qualisys video": (
        edited(write_qualisys, 'right="239"', 'right="119"', 1),
        "camera north has 129 sensor units to a pixel",
    ),
    "nerfstudio without sizes": (edited(write_nerfstudio, '"w"', '"W"'), "camera north lacks w"),
    "an equirectangular camera": (
        edited(write_nerfstudio, '"OPENCV"', '"EQUIRECTANGULAR"'),
        "camera model EQUIRECTANGULAR",
    ),
    "a fourth radial coefficient": (
        edited(write_nerfstudio, '"k3"', '"k4"'),
        r"north has a fourth radial coefficient",
    ),
    "a lens under another name": (
        lambda folder: write_opencv(folder / "a.yml", renamed_lens("lens_radial")),
        "camera 0 has lens_radial, which is not read, and no distortion_coefficients",
    ),
    "another distortion model": (
        lambda folder: write_opencv(folder / "a.yml", charuco(0) | {"distortion_model": "mei"}),
        "camera 0 has the distortion model mei",
    ),
    "a division model": (colmap_model("SIMPLE_DIVISION"), r"cameras\.txt: .*SIMPLE_DIVISION"),
}


@pytest.mark.parametrize("start", [b"\0", b'{"frames": ['])
def test_of_what_is_no_calibration_the_beginning_is_read(tmp_path, start):
    """A video of many gigabytes may be named by mistake."""
    path = text("video.mp4", start)(tmp_path)
    os.truncate(path, 2**26)
    tracemalloc.start()
    try:
        with pytest.raises(PoseSplatterError, match="no known format"):
            read_cameras(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", FILE_CASES)
def test_a_file_that_is_not_a_calibration_is_refused(tmp_path, case):
    write, words = FILE_CASES[case]
    with pytest.raises(PoseSplatterError, match=words) as refused:
        read_calibration(write(tmp_path), NAMES, *SIZE)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()
