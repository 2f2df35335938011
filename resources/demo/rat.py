"""The virtual rat: dm_control's rodent with a coat of our own, on a lit floor.

Only dm_control's two asset files are read (Apache-2.0); the package itself is never imported.
Lengths here are MuJoCo's: metres, z up.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from scipy.ndimage import gaussian_filter

TEXTURE_SIZE = 1024
FLOOR = "floor"
VISIBLE_GEOM_GROUPS = (0, 1)  # floor; eyes. Group 2 holds the collision capsules.

# The atlas: each part of the skin has its own band of texture rows.
BANDS = {"coat": (0, 704), "tail": (704, 832), "paws": (832, 960), "ears": (960, 1024)}
PAW_BONES = ("lower_leg", "foot", "toe", "lower_arm", "hand", "finger")

# Where the coat's long axis runs in the bind pose: (x, z), tail base to nose.
AXIS_X = (-0.06, 0.0, 0.06, 0.09, 0.157)
AXIS_Z = (0.065, 0.068, 0.070, 0.078, 0.075)
COAT_X = (-0.10, 0.16)

WHITE = np.array([0.97, 0.96, 0.93])
BLACK = np.array([0.16, 0.14, 0.14])
BROWN = np.array([0.47, 0.30, 0.17])
TAN = np.array([0.68, 0.50, 0.33])
PINK = np.array([0.86, 0.62, 0.57])


@dataclass(frozen=True)
class Skin:
    """A skin file: V vertices, F triangles, and per bone its bind pose and weights."""

    vertices: np.ndarray  # (V, 3) m, bind pose
    faces: np.ndarray  # (F, 3)
    bones: tuple[str, ...]
    bind_positions: np.ndarray  # (B, 3) m
    bind_quaternions: np.ndarray  # (B, 4) w x y z
    weights: np.ndarray  # (B, V)


def asset_folder() -> Path:
    """The folder of dm_control's walker assets, found without importing dm_control."""
    package = importlib.util.find_spec("dm_control")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("dm_control is missing: pip install .[demo]")
    return Path(package.submodule_search_locations[0]) / "locomotion" / "walkers" / "assets"


def read_skin(path: Path) -> Skin:
    """Read MuJoCo's binary .skn format (MuJoCo XML reference, asset/skin)."""
    content = path.read_bytes()
    offset = 0

    def take(dtype: type, count: int) -> np.ndarray:
        nonlocal offset
        values = np.frombuffer(content, dtype, count, offset)
        offset += values.nbytes
        return values

    n_vertices, n_texcoords, n_faces, n_bones = take(np.int32, 4)
    vertices = take(np.float32, 3 * n_vertices).reshape(-1, 3)
    take(np.float32, 2 * n_texcoords)
    faces = take(np.int32, 3 * n_faces).reshape(-1, 3)
    names, positions, quaternions = [], [], []
    weights = np.zeros((n_bones, n_vertices), np.float32)
    for bone in range(n_bones):
        names.append(take(np.uint8, 40).tobytes().split(b"\0")[0].decode())
        positions.append(take(np.float32, 3))
        quaternions.append(take(np.float32, 4))
        (count,) = take(np.int32, 1)
        indices = take(np.int32, count)
        weights[bone, indices] = take(np.float32, count)
    return Skin(vertices, faces, tuple(names), np.array(positions), np.array(quaternions), weights)


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 at low and 1 at high, a smooth cubic between; it falls with x where low > high."""
    t = np.clip((np.asarray(x, float) - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]
) -> np.ndarray:
    """Smooth noise of zero mean and unit standard deviation."""
    field = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (field - field.mean()) / field.std()


def face_parts(skin: Skin) -> np.ndarray:
    """Per triangle, the part of the coat (a key of BANDS) that it belongs to."""

    def share(select: list[bool]) -> np.ndarray:
        return skin.weights[np.array(select)].sum(0)[skin.faces].mean(1)

    tail = share([name.startswith("vertebra_C") for name in skin.bones])
    paws = share([name[:-2] in PAW_BONES for name in skin.bones])
    skull = share([name == "skull" for name in skin.bones])
    middle = skin.vertices[skin.faces].mean(1)
    parts = np.full(len(skin.faces), "coat", dtype="<U4")
    parts[tail > 0.5] = "tail"
    parts[paws > 0.5] = "paws"
    ear = (skull > 0.5) & (middle[:, 2] > 0.098) & (np.abs(middle[:, 1]) > 0.008)
    parts[ear & (middle[:, 0] < 0.112)] = "ears"
    return parts


def chart(part: str, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates in [0, 1] of bind-pose vertices, across and along a part's band.

    The coat is unrolled round the trunk's axis, from the belly over the right side, the back
    (0.5) and the left side to the belly; the other parts are projections.
    """
    x, y, z = vertices.T
    if part == "coat":
        angle = np.arctan2(y, z - np.interp(x, AXIS_X, AXIS_Z))
        return (x - COAT_X[0]) / (COAT_X[1] - COAT_X[0]), 0.5 + angle / (2 * np.pi)
    if part == "tail":
        return (x + 0.25) / 0.21, np.clip(0.5 + y / 0.04, 0, 1)
    if part == "paws":
        return np.clip((z + 0.005) / 0.07, 0, 1), np.clip((x + 0.08) / 0.2, 0, 1)
    return np.clip((x - 0.07) / 0.05, 0, 1), np.clip((z - 0.09) / 0.03, 0, 1)


def unwrap(skin: Skin) -> tuple[Skin, np.ndarray]:
    """Give the skin texture coordinates, doubling the vertices on the borders between parts.

    The skin file has none. Returns the skin with its doubled vertices and (V, 2) coordinates.
    """
    parts = face_parts(skin)
    middle = skin.vertices[skin.faces].mean(1)
    faces = np.empty_like(skin.faces)
    sources, coordinates = [], []
    start = 0
    for part, (first, last) in BANDS.items():
        # The coat is cut along the belly: its two halves share no vertices there.
        halves = [middle[:, 1] < 0, middle[:, 1] >= 0] if part == "coat" else [True]
        members = [np.flatnonzero((parts == part) & half) for half in halves]
        u, v = chart(part, skin.vertices)
        index = np.full((len(members), len(skin.vertices)), -1)
        for side, chosen in enumerate(members):
            used = np.unique(skin.faces[chosen])
            side_v = v[used]
            if part == "coat":
                side_v = np.where((side == 0) & (side_v > 0.75), 0.0, side_v)
                side_v = np.where((side == 1) & (side_v < 0.25), 1.0, side_v)
                back = np.abs(side_v - 0.5) < 0.25  # along the back both halves are one surface
                known = back & (index[0, used] >= 0) & (side == 1)
                index[side, used[known]] = index[0, used[known]]
                used, side_v = used[~known], side_v[~known]
            index[side, used] = start + np.arange(len(used))
            start += len(used)
            sources.append(used)
            row = first + 2 + side_v * (last - first - 4)
            coordinates.append(np.stack([0.01 + 0.98 * u[used], row / TEXTURE_SIZE], 1))
            faces[chosen] = index[side, skin.faces[chosen]]
    source = np.concatenate(sources)
    doubled = Skin(
        skin.vertices[source],
        faces,
        skin.bones,
        skin.bind_positions,
        skin.bind_quaternions,
        skin.weights[:, source],
    )
    return doubled, np.concatenate(coordinates)


def blend(base: np.ndarray, color: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Mix a colour into an image (h, w, 3) by amount (h, w)."""
    return base + amount[..., None] * (color - base)


def paint_coat(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A hooded rat: dark hood, back stripe fading to brown, patches, white belly. (h, w, 3)."""
    angle, x = np.meshgrid(
        np.linspace(-180, 180, height), np.linspace(*COAT_X, width), indexing="ij"
    )
    ragged = noise(rng, x.shape, (14, 14))
    fine = noise(rng, x.shape, (5, 8))
    side = np.abs(angle) + 7 * ragged + 3 * fine
    along = x + 0.004 * ragged + 0.0015 * fine

    back = blend(np.broadcast_to(BROWN, (*x.shape, 3)), BLACK, smoothstep(-0.06, 0.05, x))
    color = np.broadcast_to(WHITE, (*x.shape, 3)).copy()
    # A tan wash on the flanks, stronger to the rump: a gradient from back to belly.
    wash = smoothstep(125, 35, side) * (0.35 + 0.5 * smoothstep(0.05, -0.08, x))
    color = blend(color, TAN, wash * 0.8)
    for center_x, center_angle, size_x, size_angle, patch in (
        (-0.035, 75, 0.024, 34, BROWN),
        (0.020, -72, 0.018, 30, BLACK),
        (-0.060, -60, 0.016, 26, BROWN),
        (0.028, 88, 0.009, 14, BLACK),
    ):
        distance = np.hypot((x - center_x) / size_x, (angle - center_angle) / size_angle)
        color = blend(color, patch, smoothstep(1.1, 0.9, distance + 0.13 * ragged + 0.08 * fine))
    color = blend(color, back, smoothstep(24, 18, side))
    color = blend(color, BLACK, smoothstep(0.050, 0.056, along) * smoothstep(128, 116, side))
    blaze = smoothstep(0.118, 0.126, along) * smoothstep(26, 20, side)
    color = blend(color, WHITE, blaze)
    color = blend(color, PINK, smoothstep(0.149, 0.152, x))

    streaks = noise(rng, x.shape, (0.9, 4.0)) + 0.7 * noise(rng, x.shape, (2.0, 10.0))
    return color * (1 + 0.055 * streaks[..., None]) + 0.012 * streaks[..., None]


def paint_tail(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pink skin with fine rings, greyer to the base. (h, w, 3)."""
    along = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    color = np.broadcast_to(PINK * 0.92, (height, width, 3))
    color = blend(color, 0.5 * (BROWN + WHITE), 0.7 * smoothstep(0.75, 1.0, along))
    rings = 0.05 * np.sin(2 * np.pi * along * 60) + 0.04 * noise(rng, along.shape, (6, 6))
    return color * (1 + rings[..., None])


def paint_paws(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pink below, white fur above. (h, w, 3)."""
    up = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    color = np.broadcast_to(PINK, (height, width, 3))
    color = blend(color, WHITE, smoothstep(0.2, 0.38, up + 0.03 * noise(rng, up.shape, (5, 5))))
    return color * (1 + 0.04 * noise(rng, up.shape, (1.5, 3))[..., None])


def paint_ears(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Dusky pink, dark where the ear leaves the hood. (h, w, 3)."""
    up = np.broadcast_to(np.linspace(0, 1, height)[:, None], (height, width))
    color = np.broadcast_to(0.75 * PINK, (height, width, 3))
    return blend(color, BLACK, smoothstep(0.45, 0.25, up)) * (
        1 + 0.04 * noise(rng, up.shape, (3, 3))[..., None]
    )


def coat_texture(seed: int) -> np.ndarray:
    """The whole atlas, uint8 (TEXTURE_SIZE, TEXTURE_SIZE, 3)."""
    rng = np.random.default_rng(seed)
    painters = {"coat": paint_coat, "tail": paint_tail, "paws": paint_paws, "ears": paint_ears}
    bands = [
        painters[part](rng, last - first, TEXTURE_SIZE) for part, (first, last) in BANDS.items()
    ]
    return (np.clip(np.concatenate(bands), 0, 1) * 255).astype(np.uint8)


def floor_texture(seed: int) -> np.ndarray:
    """Bedding-like grain in sand colours, uint8 (TEXTURE_SIZE, TEXTURE_SIZE, 3)."""
    rng = np.random.default_rng([seed, 1])
    shape = (TEXTURE_SIZE, TEXTURE_SIZE)
    grain = (
        0.5 * noise(rng, shape, (1, 1))
        + 0.4 * noise(rng, shape, (2.5, 2.5))
        + 0.7 * noise(rng, shape, (8, 8))
        + 0.7 * noise(rng, shape, (30, 30))
    )
    color = np.array([0.62, 0.57, 0.49]) + 0.04 * grain[..., None] * np.array([1.0, 1.0, 0.9])
    return (np.clip(color, 0, 1) * 255).astype(np.uint8)


def add_texture(spec: mujoco.MjSpec, name: str, image: np.ndarray, repeat: float = 1.0) -> str:
    """Add an image as a matt material and return the material's name."""
    height, width, channels = image.shape
    texture = spec.add_texture(
        name=name,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        width=width,
        height=height,
        nchannel=channels,
    )
    texture.data = image.tobytes()
    material = spec.add_material(
        name=name, specular=0.05, shininess=0.05, texrepeat=[repeat, repeat]
    )
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return name


def dress(spec: mujoco.MjSpec, seed: int) -> None:
    """Replace the model's plain skin by one with texture coordinates and a painted coat."""
    skin, coordinates = unwrap(read_skin(asset_folder() / spec.skins[0].file))
    target = spec.skins[0]
    target.file = ""
    target.material = add_texture(spec, "coat", coat_texture(seed))
    target.vert = skin.vertices.ravel()
    target.texcoord = coordinates.astype(np.float32).ravel()
    target.face = skin.faces.ravel()
    target.bodyname = list(skin.bones)
    target.bindpos = skin.bind_positions.ravel()
    target.bindquat = skin.bind_quaternions.ravel()
    members = [np.flatnonzero(weights) for weights in skin.weights]
    target.vertid = [index.astype(np.int32) for index in members]
    target.vertweight = [
        weights[index] for weights, index in zip(skin.weights, members, strict=True)
    ]


def light_scene(spec: mujoco.MjSpec) -> None:
    """A key light from one side, a weak warm fill from the other, a pale wall far away."""
    for light in list(spec.lights):
        spec.delete(light)
    spec.worldbody.add_light(
        pos=[0.9, 0.8, 1.3],
        dir=[-0.9, -0.8, -1.25],
        castshadow=True,
        diffuse=[0.86, 0.85, 0.81],
        specular=[0.1, 0.1, 0.1],
        cutoff=40,
        exponent=4,
    )
    spec.worldbody.add_light(
        pos=[-1.2, -0.6, 0.8],
        dir=[1.2, 0.6, -0.75],
        castshadow=False,
        diffuse=[0.26, 0.25, 0.25],
        specular=[0, 0, 0],
        cutoff=80,
    )
    spec.visual.headlight.ambient = [0.38, 0.38, 0.40]
    spec.visual.headlight.diffuse = [0, 0, 0]
    spec.visual.headlight.specular = [0, 0, 0]
    spec.add_texture(
        name="wall",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.55, 0.58, 0.60],
        rgb2=[0.30, 0.31, 0.33],
        width=128,
        height=768,
    )


def build_spec(seed: int) -> mujoco.MjSpec:
    """The whole scene but its cameras: the rat free to move, its coat, the floor, the light."""
    spec = mujoco.MjSpec.from_file(str(asset_folder() / "rodent.xml"))
    for camera in list(spec.cameras):
        spec.delete(camera)
    spec.body("torso").add_freejoint(name="root")
    for geom in spec.geoms:
        if geom.name.startswith(("skull_T", "jaw_T")):  # the teeth stick out of the skin
            geom.group = 2
    spec.joint("mandible").range = [-0.6, 0.26]  # the model's own limits leave the mouth open
    dress(spec, seed)
    light_scene(spec)
    spec.worldbody.add_geom(
        name=FLOOR,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[2.5, 2.5, 0.05],
        group=0,
        material=add_texture(spec, FLOOR, floor_texture(seed), repeat=8.0),
    )
    spec.visual.map.znear = 0.05
    spec.visual.map.zfar = 50.0
    spec.visual.map.shadowscale = 0.9
    spec.visual.quality.shadowsize = 4096
    # Multisampling would mix the codes of a segmentation image at the outlines.
    spec.visual.quality.offsamples = 0
    return spec


class SkinSurface:
    """The skin's posed vertices, for contact with the floor."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.scene = mujoco.MjvScene(model, maxgeom=1000)
        self.camera = mujoco.MjvCamera()
        self.option = mujoco.MjvOption()

    def vertices(self, data: mujoco.MjData) -> np.ndarray:
        """(V, 3) in metres, of the pose that data holds (after mj_forward)."""
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            self.model, data, self.option, None, self.camera, everything, self.scene
        )
        return np.array(self.scene.skinvert).reshape(-1, 3)
