"""Render the demo recording: a virtual rat, filmed by a ring of calibrated cameras.

    pip install .[demo]
    MUJOCO_GL=osmesa python resources/demo/render.py --out resources/demo

Off-screen rendering without a display needs Debian's libosmesa6 (MUJOCO_GL=osmesa) or a GPU
driver (MUJOCO_GL=egl).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "osmesa")

import av
import cv2
import h5py
import mujoco
import numpy as np
import pandas as pd
from motion import Motion, animate
from rat import FLOOR, VISIBLE_GEOM_GROUPS, SkinSurface, build_spec
from rig import Rig, World, add_cameras, make_rig, make_world

IMAGE_CRF, MASK_CRF = 17, 16
KEYFRAME_INTERVAL = 50  # frames: a chunk of the video can be decoded without all before it


def settings() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--width", type=int, default=576, help="pixels, even")
    parser.add_argument("--height", type=int, default=512, help="pixels, even")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="of the motion and the coat")
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--rig", choices=("default", "random"), default="default")
    parser.add_argument("--rig-seed", type=int, default=0)
    parser.add_argument(
        "--distance", type=float, nargs=2, default=(1.0, 1.5), help="of a random rig, m: min max"
    )
    parser.add_argument(
        "--elevation", type=float, nargs=2, default=(12, 62), help="of a random rig, deg: min max"
    )
    parser.add_argument(
        "--supersample", type=int, default=2, help="render this much larger, then average down"
    )
    args = parser.parse_args()
    if args.width % 2 or args.height % 2:
        parser.error("--width and --height must be even: H.264 stores colour at half size")
    return args


class Camera:
    """Renders one image and one mask per camera and pose."""

    def __init__(self, model: mujoco.MjModel, rig: Rig, supersample: int) -> None:
        self.size = (rig.width, rig.height)
        model.vis.global_.offwidth = rig.width * supersample
        model.vis.global_.offheight = rig.height * supersample
        self.renderer = mujoco.Renderer(model, rig.height * supersample, rig.width * supersample)
        self.floor = model.geom(FLOOR).id
        self.option = mujoco.MjvOption()
        self.option.geomgroup[:] = 0
        self.option.geomgroup[list(VISIBLE_GEOM_GROUPS)] = 1
        self.option.sitegroup[:] = 0

    def shoot(self, data: mujoco.MjData, camera: str) -> tuple[np.ndarray, np.ndarray]:
        """RGB image (h, w, 3) and mask (h, w) of 0 and 255, both uint8."""
        self.renderer.update_scene(data, camera, self.option)
        image = self.renderer.render()
        self.renderer.enable_segmentation_rendering()
        self.renderer.update_scene(data, camera, self.option)
        object_id, object_type = np.moveaxis(self.renderer.render(), -1, 0)
        self.renderer.disable_segmentation_rendering()
        is_floor = (object_type == int(mujoco.mjtObj.mjOBJ_GEOM)) & (object_id == self.floor)
        animal = np.where((object_type >= 0) & ~is_floor, np.uint8(255), np.uint8(0))
        image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        animal = cv2.resize(animal, self.size, interpolation=cv2.INTER_AREA)
        return image, np.where(animal >= 128, np.uint8(255), np.uint8(0))


class VideoWriter:
    """An H.264 video of RGB images or of masks, written under a temporary name until closed."""

    def __init__(self, path: Path, rig: Rig, fps: float, crf: int, tune: str) -> None:
        self.path, self.partial = path, path.with_suffix(".partial.mp4")
        self.container = av.open(str(self.partial), "w")
        self.stream = self.container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001)
        )
        self.stream.width, self.stream.height = rig.width, rig.height
        self.stream.pix_fmt = "yuv420p"
        self.stream.options = {
            "crf": str(crf),
            "preset": "slow",
            "tune": tune,
            "g": str(KEYFRAME_INTERVAL),
            "threads": "1",  # so that a file is the same on any machine
        }

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self.container.mux(self.stream.encode())
        self.container.close()
        if kind is None:
            self.partial.replace(self.path)

    def write(self, image: np.ndarray) -> None:
        """Append an image (h, w, 3) or a mask (h, w), uint8."""
        kind = "rgb24" if image.ndim == 3 else "gray"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=kind)
        self.container.mux(self.stream.encode(frame))


def posed(model: mujoco.MjModel, motion: Motion) -> Iterator[mujoco.MjData]:
    """The model in every pose, one after the other."""
    data = mujoco.MjData(model)
    for qpos in motion.qpos:
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        yield data


def film(
    model: mujoco.MjModel,
    motion: Motion,
    rig: Rig,
    names: list[str],
    out: Path,
    fps: float,
    supersample: int,
) -> None:
    """Write videos/ and masks/ of every camera."""
    for folder in ("videos", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        videos, masks = (
            [
                stack.enter_context(VideoWriter(out / folder / f"{name}.mp4", rig, fps, crf, tune))
                for name in names
            ]
            for folder, crf, tune in (
                ("videos", IMAGE_CRF, "film"),
                ("masks", MASK_CRF, "animation"),
            )
        )
        camera = Camera(model, rig, supersample)
        for number, data in enumerate(posed(model, motion)):
            for name, video, mask in zip(names, videos, masks, strict=True):
                image, animal = camera.shoot(data, name)
                video.write(image)
                mask.write(animal)
            if number % 25 == 0:
                print(f"frame {number + 1} of {len(motion.qpos)}", flush=True)


def body_length(model: mujoco.MjModel) -> float:
    """Nose to tail base of the skin in the resting pose, m."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    nose = SkinSurface(model).vertices(data)[:, 0].max()
    return float(nose - data.body("vertebra_C1").xpos[0])


def volume_center(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The centre (3,) of the volume that a closed surface (V, 3), (F, 3) encloses.

    The mean of the tetrahedra between the faces and the origin, weighted by signed volume.
    """
    corners = vertices[faces]
    volumes = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return np.average(corners.sum(axis=1) / 4, axis=0, weights=volumes)


def truth(model: mujoco.MjModel, motion: Motion, world: World) -> dict[str, np.ndarray]:
    """What was really there, frame by frame, in the calibration's world (mm, unit vectors)."""
    hinges = model.jnt_qposadr[model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE]
    surface = SkinSurface(model)
    faces = np.array(model.skin_face).reshape(-1, 3)
    centers, masses, pelvis, chest = [], [], [], []
    for data in posed(model, motion):
        centers.append(volume_center(surface.vertices(data), faces))
        masses.append(data.subtree_com[model.body("torso").id].copy())
        pelvis.append(data.body("pelvis").xpos.copy())
        chest.append(data.body("torso").xpos.copy())
    trunk = np.array(chest) - np.array(pelvis)
    heading = trunk * [1, 1, 0]
    root = np.tile(np.eye(4), (len(motion.qpos), 1, 1))
    for pose, qpos in zip(root, motion.qpos, strict=True):
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, qpos[3:7])
        pose[:3, :3] = world.rotation @ matrix.reshape(3, 3)
        pose[:3, 3] = world.points(qpos[:3])
    return {
        "center": world.points(np.array(centers)),
        "center_of_mass": world.points(np.array(masses)),
        "pelvis": world.points(np.array(pelvis)),
        "chest": world.points(np.array(chest)),
        "trunk_direction": world.directions(trunk / np.linalg.norm(trunk, axis=1)[:, None]),
        "heading": world.directions(heading / np.linalg.norm(heading, axis=1)[:, None]),
        "root": root,
        "joint_angles": motion.qpos[:, hinges],
        "behavior": motion.behavior.astype("S4"),
    }


def write_hdf5(path: Path, datasets: dict[str, np.ndarray], attributes: dict[str, object]) -> None:
    """Write datasets and file attributes under a temporary name, then move into place."""
    partial = path.with_suffix(".partial.h5")
    with h5py.File(partial, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
        file.attrs.update(attributes)
    partial.replace(path)


def write_calibration(path: Path, rig: Rig, world: World) -> None:
    """Write the calibration as OpenCV states it: millimetres, pixel centres at integers."""
    intrinsics = rig.intrinsics.copy()
    intrinsics[:, :2, 2] -= 0.5
    rotations, translations = world.extrinsics(rig)
    write_hdf5(
        path,
        {
            "camera_parameters/intrinsic": intrinsics,
            "camera_parameters/rotation": rotations,
            "camera_parameters/translation": translations,
        },
        {
            "unit": "mm",
            "pixel_centers": "integer",
            "image_width": rig.width,
            "image_height": rig.height,
            "convention": "x_camera = R x_world + t",
        },
    )


def write_truth(out: Path, model: mujoco.MjModel, motion: Motion, world: World, fps: float) -> None:
    """Write truth.h5, and truth.csv with all but the root pose and the joint angles."""
    values = truth(model, motion, world)
    joints = [model.joint(i).name for i in range(1, model.njnt)]
    write_hdf5(
        out / "truth.h5",
        values | {"joint_names": np.array(joints, dtype="S")},
        {
            "unit": "mm",
            "up": world.directions(np.array([0.0, 0.0, 1.0])),
            "floor_point": world.points(np.zeros(3)),
            "body_length_mm": 1000 * body_length(model),
            "fps": fps,
        },
    )
    table = pd.DataFrame({"frame": np.arange(len(motion.qpos)), "behavior": motion.behavior})
    for name, digits in (
        ("center", 2),
        ("pelvis", 2),
        ("chest", 2),
        ("trunk_direction", 4),
        ("heading", 4),
    ):
        for axis, column in zip("xyz", values[name].T, strict=True):
            table[f"{name}_{axis}"] = column.round(digits)
    table.to_csv(out / "truth.csv", index=False)


def main() -> None:
    """Render a recording."""
    args = settings()
    args.out.mkdir(parents=True, exist_ok=True)
    rig = make_rig(
        args.rig,
        args.cameras,
        args.width,
        args.height,
        args.rig_seed,
        args.distance,
        args.elevation,
    )
    world = make_world(args.rig_seed)
    spec = build_spec(args.seed)
    names = add_cameras(spec, rig)
    model = spec.compile()
    motion = animate(model, args.frames, args.fps, args.seed)
    write_calibration(args.out / "calibration.h5", rig, world)
    write_truth(args.out, model, motion, world, args.fps)
    film(model, motion, rig, names, args.out, args.fps, args.supersample)


if __name__ == "__main__":
    main()
