"""How the rat moves: a schedule of behaviours, a path, footfalls, and poses by inverse kinematics.

The pelvis follows a smooth path over the floor. Each paw stands still in the world while it bears
weight and swings to its next foothold; joint angles of the limbs and the tail follow from there.
Lengths are MuJoCo's: metres, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import mujoco
import numpy as np
from rat import SkinSurface, smoothstep
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

BEHAVIORS = ("walk", "turn", "rear", "rest")
SECTIONS = 3  # train, validation and test are thirds in time: each shows every behaviour
SECONDS = {"walk": 1.05, "turn": 0.80, "rear": 0.98, "rest": 0.50}
CYCLE_SECONDS = sum(SECONDS.values())
START, START_YAW = np.array([-0.09, -0.08]), 0.9  # the animal's middle, m; rad
RATE = 240.0  # plan samples per second

WALK_SPEED = 0.18  # m/s at full stride
CADENCE = 2.8  # strides per second
SWING_SECONDS = 0.15
STEP_HEIGHT = 0.012
PELVIS_HEIGHT = 0.060
MIDDLE = 0.055  # m from the pelvis forward to the animal's middle
REAR_PITCH = 0.62  # rad, pelvis; the spine adds REAR_SPINE
REAR_SPINE = 0.62
SMOOTH_SECONDS = 0.022  # of the joint angles: a limb at its limits would snap
JAW = -0.5  # rad: the mouth closed


class Limb(NamedTuple):
    """One leg: the bodies that follow the foothold, its joints and its phase in the stride."""

    tip: str
    heel: str
    girdle: str
    joints: tuple[str, ...]
    phase: float


HIND = ("hip_{}_supinate", "hip_{}_abduct", "hip_{}_extend", "knee_{}", "ankle_{}", "toe_{}")
FORE = (
    "scapula_{}_supinate",
    "scapula_{}_abduct",
    "scapula_{}_extend",
    "shoulder_{}",
    "shoulder_sup_{}",
    "elbow_{}",
    "wrist_{}",
    "finger_{}",
)
LIMBS = tuple(
    Limb(f"{tip}_{side}", f"{heel}_{side}", girdle, tuple(j.format(side) for j in joints), phase)
    for tip, heel, girdle, joints, side, phase in (
        ("toe", "foot", "pelvis", HIND, "L", 0.0),
        ("finger", "hand", "torso", FORE, "L", 0.3),
        ("toe", "foot", "pelvis", HIND, "R", 0.5),
        ("finger", "hand", "torso", FORE, "R", 0.8),
    )
)
TAIL_BODIES = tuple(f"vertebra_C{i}" for i in (10, 12, 14, 17, 20, 23, 26, 30))
TAIL_RADIUS = 0.004
DAMPING = 1e-5  # m^2/rad^2


@dataclass(frozen=True)
class Plan:
    """The path and what the body does along it, at RATE samples per second. T samples."""

    position: np.ndarray  # (T, 2) pelvis over the floor; the animal turns about its middle
    yaw: np.ndarray  # (T,) heading of the path, rad
    activity: np.ndarray  # (T,) 0 standing, 1 stepping at full cadence
    phase: np.ndarray  # (T,) strides made so far
    rear: np.ndarray  # (T,) 0 on all fours, 1 upright
    rest: np.ndarray  # (T,) 0..1
    stretch: np.ndarray  # (T,) 0..1
    behavior: np.ndarray  # (T,) str

    def at(self, values: np.ndarray, time: float) -> np.ndarray:
        """A planned quantity at a time in seconds, held at both ends."""
        sample = np.clip(time * RATE, 0, len(values) - 1)
        low = min(int(sample), len(values) - 2)
        return values[low] + (sample - low) * (values[low + 1] - values[low])


@dataclass(frozen=True)
class Motion:
    """Poses of F frames."""

    qpos: np.ndarray  # (F, nq)
    behavior: np.ndarray  # (F,) str


def schedule(seconds: float, rng: np.random.Generator) -> list[tuple[str, float]]:
    """(behaviour, duration) in order. Every third holds whole cycles of all four."""
    section = seconds / SECTIONS
    cycles = max(1, round(section / CYCLE_SECONDS))
    stretch = section / (cycles * CYCLE_SECONDS)
    return [
        (name, SECONDS[name] * stretch)
        for _ in range(SECTIONS * cycles)
        for name in ("turn", "walk", *rng.permutation(["rear", "rest"]))
    ]


def bell(count: int) -> np.ndarray:
    """Rise, stay, fall: a smooth pulse over count samples."""
    t = np.linspace(0, 1, count)
    return smoothstep(0.02, 0.42, t) * smoothstep(0.98, 0.60, t)


def choose_turn(
    position: np.ndarray,
    yaw: float,
    reach: float,
    visited: list[np.ndarray],
    rng: np.random.Generator,
) -> float:
    """The turn (rad) whose next walk stays in the arena and leads where it has been least."""
    turns = rng.choice([-1, 1], 24) * rng.uniform(np.radians(40), np.radians(100), 24)

    def cost(turn: float) -> float:
        forward = np.array([np.cos(yaw + turn), np.sin(yaw + turn)])
        end = position + reach * forward
        nearest = min(np.linalg.norm(end - place) for place in visited)
        outward = np.linalg.norm(end + 0.06 * forward)
        return 10 * max(0.0, outward - 0.16) - nearest

    return float(min(turns, key=cost))


def make_plan(seconds: float, rng: np.random.Generator) -> Plan:
    """Lay the schedule out in time and integrate speed and yaw rate to a path."""
    position, yaw = START.copy(), START_YAW
    visited = [position]
    speeds, yaw_rates, rears, rests, stretches, labels = [], [], [], [], [], []
    for number, (name, duration) in enumerate(schedule(seconds, rng)):
        count = max(2, round(duration * RATE))
        zero, pulse = np.zeros(count), bell(count)
        done = np.linspace(0, 1, count)
        gentle = smoothstep(0, 0.25, done) * smoothstep(1, 0.75, done)
        speed, yaw_rate = zero, zero
        if name == "walk":
            speed = WALK_SPEED * gentle
            yaw_rate = rng.uniform(-0.5, 0.5) * gentle
        elif name == "turn":
            reach = 0.75 * WALK_SPEED * SECONDS["walk"]
            turn = choose_turn(position, yaw, reach, visited, rng)
            yaw_rate = turn * gentle / (gentle.sum() / RATE)
            speed = 0.05 * gentle
        for rate, forward in zip(yaw_rate / RATE, speed / RATE, strict=True):
            yaw += rate
            position = position + forward * np.array([np.cos(yaw), np.sin(yaw)])
        visited.append(position)
        speeds.append(speed)
        yaw_rates.append(yaw_rate)
        rears.append(pulse if name == "rear" else zero)
        rests.append(pulse if name == "rest" else zero)
        stretches.append(pulse if name == "rest" and (number // 4) % 2 == 0 else zero)
        labels += [name] * count

    speed, yaw_rate, rear, rest, stretch = (
        gaussian_filter1d(np.concatenate(parts), 0.04 * RATE, mode="nearest")
        for parts in (speeds, yaw_rates, rears, rests, stretches)
    )
    yaw = START_YAW + np.cumsum(yaw_rate) / RATE
    forward = np.stack([np.cos(yaw), np.sin(yaw)], 1)
    pelvis = START + np.cumsum(speed[:, None] * forward, axis=0) / RATE - MIDDLE * forward
    activity = smoothstep(0.02, 0.6, speed / WALK_SPEED + np.abs(yaw_rate) / 2.2)
    phase = np.cumsum(activity) * CADENCE / RATE
    return Plan(pelvis, yaw, activity, phase, rear, rest, stretch, np.array(labels))


class Footfalls:
    """Where one paw is at any time: standing on a foothold, or on its way to the next."""

    def __init__(self, plan: Plan, limb: Limb, neutral: np.ndarray) -> None:
        cycle = np.floor(plan.phase + limb.phase)
        lift = np.flatnonzero(np.diff(cycle)) + 1
        spacing = round((SWING_SECONDS + 0.03) * RATE)
        self.lifts = [int(i) for n, i in enumerate(lift) if n == 0 or i - lift[n - 1] > spacing]
        self.swing = round(SWING_SECONDS * RATE)
        bounds = [0, *self.lifts, len(plan.yaw) - 1]
        self.holds = np.array(
            [
                self.foothold(plan, limb, neutral, min(first + self.swing, last), last)
                for first, last in pairwise(bounds)
            ]
        )

    @staticmethod
    def foothold(plan: Plan, limb: Limb, neutral: np.ndarray, down: int, up: int) -> np.ndarray:
        """(x, y, yaw): under the girdle halfway, in phase, through the stance."""
        halfway = (plan.phase[down] + plan.phase[up]) / 2
        middle = int(np.clip(np.searchsorted(plan.phase, halfway), down, up))
        yaw = plan.yaw[middle]
        if limb.girdle == "torso":
            yaw = yaw + chest_bend(plan, middle / RATE)
        cos, sin = np.cos(plan.yaw[middle]), np.sin(plan.yaw[middle])
        girdle = neutral[0] * np.array([cos, sin])
        if limb.girdle == "torso":  # the chest leads round the bend
            girdle = 0.5 * girdle + 0.5 * neutral[0] * np.array([np.cos(yaw), np.sin(yaw)])
        side = neutral[1] * np.array([-np.sin(yaw), np.cos(yaw)])
        return np.array([*(plan.position[middle] + girdle + side), yaw])

    def at(self, time: float) -> tuple[np.ndarray, float]:
        """The paw's (x, y, yaw), and its lift from 0 (standing) to 1 (mid swing)."""
        sample = time * RATE
        stance = int(np.searchsorted(self.lifts, sample, side="right"))
        if stance == 0:
            return self.holds[0], 0.0
        done = (sample - self.lifts[stance - 1]) / self.swing
        if done >= 1:
            return self.holds[stance], 0.0
        before, after = self.holds[stance - 1], self.holds[stance]
        return before + smoothstep(0, 1, done) * (after - before), float(np.sin(np.pi * done) ** 2)


def chest_bend(plan: Plan, time: float) -> float:
    """How far the chest turns ahead of the pelvis, rad: it follows the path to come."""
    ahead = plan.at(plan.yaw, time + 0.16) - plan.at(plan.yaw, time - 0.02)
    return float(0.75 * np.tanh(ahead / 0.75))


def bounded_step(
    jacobian: np.ndarray,
    residual: np.ndarray,
    pull: np.ndarray,
    wish: np.ndarray,
    bounds: np.ndarray,
) -> np.ndarray:
    """Damped least-squares step (J,) inside bounds (J, 2): joints at a limit hand over to others.

    Minimises |residual - jacobian step|^2 + sum of pull (wish - step)^2 + DAMPING |step|^2.
    """
    low, high = np.clip(bounds, -0.3, 0.3).T
    step, free = np.zeros(len(pull)), np.ones(len(pull), bool)
    for _ in range(4):
        j = jacobian[:, free]
        left = residual - jacobian[:, ~free] @ step[~free]
        normal = j.T @ j + np.diag(pull[free] + DAMPING)
        step[free] = np.linalg.solve(normal, j.T @ left + pull[free] * wish[free])
        outside = free & ((step < low) | (step > high))
        if not outside.any():
            break
        step = np.clip(step, low, high)
        free &= ~outside
    return np.clip(step, low, high)


class Poser:
    """Turns a plan into joint angles, frame after frame."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        self.surface = SkinSurface(model)
        mujoco.mj_forward(model, self.data)
        pelvis = self.data.body("pelvis").xpos.copy()
        skin = self.surface.vertices(self.data)
        self.neutral, self.heel, self.height, self.tucked = {}, {}, {}, {}
        for limb in LIMBS:
            tip = self.data.body(limb.tip).xpos.copy()
            near = skin[np.linalg.norm(skin - tip, axis=1) < 0.02]
            self.neutral[limb.tip] = tip - pelvis
            self.heel[limb.tip] = self.data.body(limb.heel).xpos - tip
            self.height[limb.tip] = tip[2] - near[:, 2].min()
            inward = np.sign(tip[1]) * 0.019
            self.tucked[limb.tip] = np.array([0.066, inward, -0.040])
        joints = [name for limb in LIMBS for name in limb.joints]
        joints += [
            model.joint(i).name
            for i in range(model.njnt)
            if model.joint(i).name.startswith("vertebra_C")
        ]
        self.solved = np.array([model.joint(name).qposadr[0] for name in joints])
        self.columns = np.array([model.joint(name).dofadr[0] for name in joints])
        self.limits = np.array([model.joint(name).range for name in joints])
        self.is_tail = np.array([name.startswith("vertebra_C") for name in joints])
        self.tail_bends = [
            (model.joint(name).qposadr[0], order / 14)
            for order, name in enumerate(n for n in joints if n.endswith("bend"))
        ]

    def set_joint(self, name: str, angle: float) -> None:
        """Set a hinge, within its limits."""
        joint = self.model.joint(name)
        self.data.qpos[joint.qposadr[0]] = np.clip(angle, *joint.range)

    def pose_trunk(self, plan: Plan, time: float) -> None:
        """Spine, neck, jaw and the root, so that the pelvis lies where the plan wants it."""
        get = {
            name: float(plan.at(getattr(plan, name), time))
            for name in ("yaw", "activity", "phase", "rear", "rest", "stretch")
        }
        swing = 2 * np.pi * get["phase"]
        breath = np.sin(2 * np.pi * 2.2 * time)
        sniff = np.sin(2 * np.pi * 1.3 * time) * np.sin(2 * np.pi * 0.37 * time + 1)
        walking, rear, rest, stretch = (get[k] for k in ("activity", "rear", "rest", "stretch"))
        bend = chest_bend(plan, time) - 0.10 * walking * np.sin(swing)
        extend = REAR_SPINE * rear + 0.18 * stretch - 0.08 * rest + 0.02 * breath
        extend += 0.03 * walking * np.sin(2 * swing) - 0.05
        for name in ("vertebra_2_bend", "vertebra_5_bend"):
            self.set_joint(name, -bend / 2)
        for name in ("vertebra_1_extend", "vertebra_4_extend"):
            self.set_joint(name, extend / 2)
        for name in ("vertebra_3_twist", "vertebra_6_twist"):
            self.set_joint(name, 0.04 * walking * np.sin(swing))

        look = plan.at(plan.yaw, time + 0.42) - plan.at(plan.yaw, time + 0.16)
        look = 0.6 * np.tanh(look / 0.6) + 0.12 * sniff * (1 + rear)
        nod = 0.55 * rear + 0.10 * sniff - 0.25 * stretch + 0.15 * rest + 0.06
        for name in ("vertebra_cervical_4_bend", "vertebra_cervical_1_bend"):
            self.set_joint(name, look / 2)
        for name in ("vertebra_cervical_5_extend", "vertebra_cervical_2_extend"):
            self.set_joint(name, nod / 2)
        self.set_joint("vertebra_axis_twist", 0.25 * sniff * rear)
        self.set_joint("atlas", 0.12 + 0.2 * stretch + 0.06 * sniff)
        self.set_joint("mandible", JAW)

        pitch = -REAR_PITCH * rear + 0.06 * stretch - 0.05 * rest
        forward = -0.012 * rear + 0.004 * stretch - 0.004 * rest
        up = PELVIS_HEIGHT + 0.004 * rear - 0.006 * rest + 0.009 * stretch + 0.0008 * breath
        up += 0.0015 * walking * np.cos(2 * swing)
        yaw = get["yaw"] + 0.05 * walking * np.sin(swing)
        roll = 0.05 * walking * np.cos(swing)
        x, y = plan.at(plan.position, time) + forward * np.array([np.cos(yaw), np.sin(yaw)])
        wanted = Rotation.from_euler("ZYX", [yaw, pitch, roll])

        self.data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]
        mujoco.mj_kinematics(self.model, self.data)
        pelvis = self.data.body("pelvis")
        root = wanted * Rotation.from_matrix(pelvis.xmat.reshape(3, 3)).inv()
        self.data.qpos[:3] = np.array([x, y, up]) - root.apply(pelvis.xpos)
        self.data.qpos[3:7] = np.roll(root.as_quat(), 1)

    def tail_wish(self, plan: Plan, time: float) -> np.ndarray:
        """The tail's bends: it trails along the path just walked, with a slow sway."""
        wish = np.zeros(self.model.nq)
        for address, along in self.tail_bends:
            trail = plan.at(plan.yaw, time - 0.5 * along) - plan.at(
                plan.yaw, time - 0.5 * along - 0.08
            )
            sway = 0.10 * np.sin(2 * np.pi * (0.55 * time - 0.9 * along))
            wish[address] = np.clip(0.45 * trail + sway, -0.25, 0.25)
        return wish[self.solved]

    def residuals(
        self, plan: Plan, falls: dict[str, Footfalls], time: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where paws and tail should still move (m, weighted), and the Jacobian of that."""
        tucked = float(smoothstep(0.08, 0.45, plan.at(plan.rear, time)))
        torso = self.data.body("torso")
        rows, jacobians = [], []
        jacobian = np.zeros((3, self.model.nv))

        def pull(body: str, target: np.ndarray, weight: np.ndarray) -> None:
            mujoco.mj_jacBody(self.model, self.data, jacobian, None, self.model.body(body).id)
            rows.append(weight * (target - self.data.body(body).xpos))
            jacobians.append(weight[:, None] * jacobian[:, self.columns])

        for limb in LIMBS:
            (x, y, yaw), lift = falls[limb.tip].at(time)
            turn = Rotation.from_euler("z", yaw)
            tip = np.array([x, y, self.height[limb.tip] + STEP_HEIGHT * lift])
            heel = tip + turn.apply(self.heel[limb.tip]) + [0, 0, 0.006 * lift]
            if limb.girdle == "torso":
                free = torso.xpos + torso.xmat.reshape(3, 3) @ self.tucked[limb.tip]
                tip = tip + tucked * (free - tip)
            pull(limb.tip, tip, np.ones(3))
            fore = np.array([0.08, 0.08, 0.3]) * (1 - tucked)
            pull(limb.heel, heel, np.full(3, 0.3) if limb.girdle == "pelvis" else fore)
        for body in TAIL_BODIES:
            height = self.data.body(body).xpos[2]
            wanted = np.array([0, 0, TAIL_RADIUS])
            pull(body, wanted, np.array([0, 0, 0.5 if height > TAIL_RADIUS else 1.0]))
        return np.concatenate(rows), np.concatenate(jacobians)

    def solve(self, plan: Plan, falls: dict[str, Footfalls], time: float, rounds: int) -> None:
        """Damped least squares on limbs and tail, pulled weakly to the resting pose."""
        wish = self.tail_wish(plan, time)
        wish_pull = np.where(self.is_tail, 2e-5, 6e-6)
        for _ in range(rounds):
            mujoco.mj_kinematics(self.model, self.data)
            mujoco.mj_comPos(self.model, self.data)
            residual, jacobian = self.residuals(plan, falls, time)
            angles = self.data.qpos[self.solved]
            step = bounded_step(
                jacobian, residual, wish_pull, wish - angles, self.limits - angles[:, None]
            )
            self.data.qpos[self.solved] = np.clip(angles + step, *self.limits.T)

    def lowest(self, pose: np.ndarray) -> float:
        """The height of the skin's lowest point, m."""
        self.data.qpos[:] = pose
        mujoco.mj_forward(self.model, self.data)
        return float(self.surface.vertices(self.data)[:, 2].min())

    def pose(self, plan: Plan, times: np.ndarray) -> np.ndarray:
        """(F, nq) poses at the times (s)."""
        falls = {limb.tip: Footfalls(plan, limb, self.neutral[limb.tip]) for limb in LIMBS}
        poses = []
        for number, time in enumerate(times):
            self.pose_trunk(plan, time)
            self.solve(plan, falls, time, rounds=200 if number == 0 else 25)
            poses.append(self.data.qpos.copy())
        poses = np.array(poses)
        if len(times) > 1:
            sigma = SMOOTH_SECONDS / (times[1] - times[0])
            poses[:, 7:] = gaussian_filter1d(poses[:, 7:], sigma, axis=0, mode="nearest")
        # What is left of floor contact, 1 to 2 mm: no part may sink in or hover, nor the body jump.
        lows = [self.lowest(pose) for pose in poses]
        poses[:, 2] -= gaussian_filter1d(lows, 2.0, mode="nearest")
        return poses


def animate(model: mujoco.MjModel, frames: int, fps: float, seed: int) -> Motion:
    """Poses and behaviours of a recording.

    A recording shorter than three cycles samples the same motion more coarsely, so that each
    third of it still shows every behaviour (from 24 frames on).
    """
    rng = np.random.default_rng([seed, 2])
    seconds = max(frames / fps, SECTIONS * CYCLE_SECONDS)
    plan = make_plan(seconds, rng)
    times = (np.arange(frames) + 0.5) * seconds / frames
    labels = plan.behavior[np.minimum((times * RATE).astype(int), len(plan.behavior) - 1)]
    return Motion(Poser(model).pose(plan, times), labels)
