"""Render motion-captured human actions as short, labelled video clips.

The clips are material to pre-train a small 3-D convolutional network on motion, above all on its
direction: people crawl, walk and run the way they face, over textured ground, seen by still,
following and drifting cameras. Poses come from the fifteen motion-capture files that `pybullet`
ships (the DeepMimic set) and from a synthetic crawl on hands and knees, as the captured crawl is
a belly crawl. Limbs are drawn by pybullet's TinyRenderer; ground, walls and sky are traced by ray
through procedural textures and laid behind them.

    pip install pybullet numpy opencv-python-headless
    python rendered_people.py OUT --clips 600 --frames 48 --seed 0 --threads 2

writes OUT/rendered-NNN.mkv (H.264) and OUT/segments.tsv, one line per clip. With --sheets it
writes one contact sheet per action instead, and with --check it prints how far the figures move
the way they face.

Coordinates are DeepMimic's: x forward, y up, z to the right, in metres; quaternions are w, x, y, z.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import multiprocessing
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from needed import needs

needs("pybullet")

import cv2
import numpy as np
import pybullet
import pybullet_data

WIDTH, HEIGHT, RATE = 172, 128, 25
SUPERSAMPLING = 2
NEAR, FAR = 0.05, 60.0
UP = np.array([0.0, 1.0, 0.0])

GAITS = {"crawl": 0.08, "crawl_knees": 0.17, "walk": 0.20, "run": 0.15}
OTHERS = (
    "backflip",
    "cartwheel",
    "dance_a",
    "dance_b",
    "getup_facedown",
    "getup_faceup",
    "jump",
    "kick",
    "punch",
    "roll",
    "spin",
    "spinkick",
)
WEIGHTS = GAITS | {action: 0.40 / len(OTHERS) for action in OTHERS}
AIRBORNE = {
    "backflip",
    "cartwheel",
    "dance_a",
    "dance_b",
    "jump",
    "kick",
    "run",
    "spin",
    "spinkick",
}  # actions with a flight phase: the others always touch the ground
UNREPEATED = {"getup_facedown", "getup_faceup"}


class Joint(NamedTuple):
    """A joint of the figure: its parent, its offset there, and its columns in a motion frame."""

    name: str
    parent: int
    offset: tuple[float, float, float]
    columns: tuple[int, int]
    part: str


JOINTS = (
    Joint("root", -1, (0.0, 0.0, 0.0), (4, 8), "trunk"),
    Joint("chest", 0, (0.0, 0.236, 0.0), (8, 12), "trunk"),
    Joint("neck", 1, (0.0, 0.224, 0.0), (12, 16), "trunk"),
    Joint("right_hip", 0, (0.0, 0.0, 0.085), (16, 20), "trunk"),
    Joint("right_knee", 3, (0.0, -0.4215, 0.0), (20, 21), "leg"),
    Joint("right_ankle", 4, (0.0, -0.410, 0.0), (21, 25), "leg"),
    Joint("right_shoulder", 1, (-0.024, 0.2435, 0.183), (25, 29), "trunk"),
    Joint("right_elbow", 6, (0.0, -0.275, 0.0), (29, 30), "arm"),
    Joint("right_wrist", 7, (0.0, -0.259, 0.0), (0, 0), "arm"),
    Joint("left_hip", 0, (0.0, 0.0, -0.085), (30, 34), "trunk"),
    Joint("left_knee", 9, (0.0, -0.4215, 0.0), (34, 35), "leg"),
    Joint("left_ankle", 10, (0.0, -0.410, 0.0), (35, 39), "leg"),
    Joint("left_shoulder", 1, (-0.024, 0.2435, -0.183), (39, 43), "trunk"),
    Joint("left_elbow", 12, (0.0, -0.275, 0.0), (43, 44), "arm"),
    Joint("left_wrist", 13, (0.0, -0.259, 0.0), (0, 0), "arm"),
)
INDEX = {joint.name: number for number, joint in enumerate(JOINTS)}


class Figure(NamedTuple):
    """Size factors of a figure's parts, relative to the captured adult."""

    head: float = 1.0
    leg: float = 1.0
    arm: float = 1.0
    girth: float = 1.0


class Shape(NamedTuple):
    """A limb: a tapered capsule in its joint's frame, widened along z, of some material."""

    joint: int
    start: np.ndarray
    end: np.ndarray
    start_radius: float
    end_radius: float
    widening: float
    material: str


class Camera(NamedTuple):
    """A camera: its kind, a position and a point looked at per frame, and the field of view."""

    kind: str
    positions: np.ndarray
    targets: np.ndarray
    field_of_view: float


class Scene(NamedTuple):
    """What stands behind the figure: textures as levels of decreasing sharpness, and the walls."""

    floor: list[np.ndarray]
    floor_size: float
    floor_angle: float
    wall: list[np.ndarray]
    wall_size: float
    sky: np.ndarray
    room: tuple[np.ndarray, np.ndarray] | None
    room_angle: float


# Quaternions, on arrays whose last axis holds w, x, y, z.


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the Hamilton product of two quaternions."""
    w, x, y, z = np.moveaxis(left, -1, 0)
    s, i, j, k = np.moveaxis(right, -1, 0)
    return np.stack(
        [
            w * s - x * i - y * j - z * k,
            w * i + x * s + y * k - z * j,
            w * j - x * k + y * s + z * i,
            w * k + x * j - y * i + z * s,
        ],
        -1,
    )


def conjugate(quaternion: np.ndarray) -> np.ndarray:
    """Return the inverse of a unit quaternion."""
    return quaternion * np.array([1.0, -1.0, -1.0, -1.0])


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotate vectors by quaternions."""
    cross = 2.0 * np.cross(quaternion[..., 1:], vector)
    return vector + quaternion[..., :1] * cross + np.cross(quaternion[..., 1:], cross)


def about(axis: int, angle: np.ndarray | float) -> np.ndarray:
    """Return the rotation by an angle in radians about x (0), y (1) or z (2)."""
    angle = np.asarray(angle, float)
    quaternion = np.zeros((*angle.shape, 4))
    quaternion[..., 0] = np.cos(angle / 2)
    quaternion[..., 1 + axis] = np.sin(angle / 2)
    return quaternion


def slerp(start: np.ndarray, end: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Interpolate spherically between quaternions, the shorter way."""
    cosine = np.sum(start * end, -1, keepdims=True)
    end = np.where(cosine < 0, -end, end)
    angle = np.arccos(np.clip(np.abs(cosine), 0, 1))
    sine = np.sin(angle)
    flat = sine < 1e-4
    sine = np.where(flat, 1.0, sine)
    fraction = np.broadcast_to(np.asarray(fraction, float)[..., None], angle.shape)
    first = np.where(flat, 1 - fraction, np.sin((1 - fraction) * angle) / sine)
    second = np.where(flat, fraction, np.sin(fraction * angle) / sine)
    mixed = first * start + second * end
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


# Motion.


class Motion(NamedTuple):
    """Key frames at a fixed step: root positions, and every joint's rotation in its parent."""

    step: float
    positions: np.ndarray
    rotations: np.ndarray

    @property
    def duration(self) -> float:
        """Return the seconds from the first key frame to the last."""
        return self.step * (len(self.positions) - 1)


def unpack(frames: np.ndarray) -> Motion:
    """Split DeepMimic frames into root positions and quaternions for all joints."""
    rotations = np.zeros((len(frames), len(JOINTS), 4))
    rotations[..., 0] = 1.0
    for number, joint in enumerate(JOINTS):
        first, last = joint.columns
        if last - first == 4:
            quaternion = frames[:, first:last]
            rotations[:, number] = quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)
        elif last - first == 1:  # knees and elbows are hinges about z
            rotations[:, number] = about(2, frames[:, first])
    return Motion(float(frames[0, 0]), frames[:, 1:4].copy(), rotations)


@functools.cache
def captured(action: str) -> Motion:
    """Load a motion-captured action."""
    folder = Path(pybullet_data.getDataPath()) / "data" / "motions"
    return unpack(np.array(json.loads((folder / f"humanoid3d_{action}.txt").read_text())["Frames"]))


def crawl_on_knees(figure: Figure, rng: np.random.Generator) -> Motion:
    """Return one cycle of a crawl on hands and knees, diagonal limbs moving nearly together."""
    period = rng.uniform(0.8, 1.3)
    duty = rng.uniform(0.55, 0.68)
    thigh = 0.4215 * figure.leg
    upper, lower = 0.275 * figure.arm, 0.259 * figure.arm
    sweep = 2 * thigh * np.sin(np.radians(rng.uniform(17, 29)))  # of a knee while on the ground
    speed = sweep / (duty * period)
    count = 60
    phase = np.arange(count + 1) / count
    knee_radius, hand_radius = 0.055 * figure.girth, 0.045 * figure.girth

    def cycle(offset: float) -> tuple[np.ndarray, np.ndarray]:
        """Return a limb's place along its sweep, from 1/2 (front) to -1/2, and its lift, 0-1."""
        turn = (phase + offset) % 1.0
        swing = np.clip((turn - duty) / (1 - duty), 0, 1)
        smooth = swing - np.sin(2 * np.pi * swing) / (2 * np.pi) * 0.7
        place = np.where(turn < duty, 0.5 - turn / duty, smooth - 0.5)
        return place, np.sin(np.pi * swing) ** 2

    hip_height = thigh * np.cos(np.radians(12)) + knee_radius
    reach = rng.uniform(0.84, 0.95) * (upper + lower)
    incline = np.arcsin(np.clip((reach + hand_radius - hip_height) / 0.48, -0.12, 0.16))
    trunk = incline - np.pi / 2  # rotation of the root about z: the spine points forwards
    bend = rng.uniform(-0.05, 0.12)
    lean = rng.uniform(0.0, 0.12)  # hands stand in front of the shoulders by so much
    lag = rng.uniform(-0.08, 0.08)
    frames = np.zeros((count + 1, 44))
    frames[:, 0] = period / count
    frames[:, 1] = speed * period * phase
    frames[:, 2] = hip_height + 0.008 * np.cos(4 * np.pi * phase)
    frames[:, 3] = 0.015 * np.sin(2 * np.pi * phase)
    yaw, roll = rng.uniform(0.0, 0.08, 2)
    sway = multiply(
        about(1, yaw * np.sin(2 * np.pi * phase)), about(0, roll * np.cos(2 * np.pi * phase))
    )
    frames[:, 4:8] = multiply(sway, np.broadcast_to(about(2, trunk), (count + 1, 4)))
    frames[:, 8:12] = about(2, bend)
    nod = rng.uniform(0.5, 1.3) + rng.uniform(0, 0.1) * np.sin(4 * np.pi * phase)
    look = rng.uniform(-0.4, 0.4) + rng.uniform(0, 0.2) * np.sin(2 * np.pi * phase)
    frames[:, 12:16] = multiply(about(0, look * 0.5), about(2, nod))
    for side, offset, first_leg, first_arm in ((1, 0.0, 16, 39), (-1, 0.5, 30, 25)):
        # The right knee moves with the left hand.
        place, lift = cycle(offset)
        flexion = np.arcsin(np.clip(sweep * place / thigh, -0.9, 0.9)) + 0.12 * lift
        calf = -np.pi / 2 - rng.uniform(0.04, 0.1) - 0.12 * lift
        splay = side * rng.uniform(0.0, 0.12)
        frames[:, first_leg : first_leg + 4] = multiply(
            np.broadcast_to(about(0, -splay), (count + 1, 4)), about(2, flexion - trunk)
        )
        frames[:, first_leg + 4] = calf - flexion
        frames[:, first_leg + 5 : first_leg + 9] = about(2, -rng.uniform(1.0, 1.35))
        place, lift = cycle(offset + lag)
        shoulder_height = (frames[:, 2] + 0.48 * np.sin(incline)) + 0.024
        across = sweep * place + lean
        down = shoulder_height - hand_radius - 0.10 * figure.arm * lift
        distance = np.clip(np.hypot(across, down), 0.1, 0.999 * (upper + lower))
        elbow = np.arccos(np.clip((distance**2 - upper**2 - lower**2) / (2 * upper * lower), -1, 1))
        above = np.arctan2(across, down) - np.arctan2(
            lower * np.sin(elbow), upper + lower * np.cos(elbow)
        )
        frames[:, first_arm : first_arm + 4] = about(2, above - trunk - bend)
        frames[:, first_arm + 4] = elbow
    return unpack(frames)


def twist_about_up(rotation: np.ndarray) -> np.ndarray:
    """Return the part of a rotation that turns about the vertical."""
    twist = rotation * np.array([1.0, 0.0, 1.0, 0.0])
    length = np.linalg.norm(twist)
    return twist / length if length > 1e-6 else np.array([1.0, 0.0, 0.0, 0.0])


def closed(motion: Motion, share: float = 0.3) -> tuple[Motion, np.ndarray]:
    """Bend a motion's last part so that its end meets its start; return the turn per cycle too."""
    turn = twist_about_up(multiply(motion.rotations[-1, 0], conjugate(motion.rotations[0, 0])))
    goal = motion.rotations[0].copy()
    goal[0] = multiply(turn, goal[0])
    phase = np.linspace(0, 1, len(motion.positions))
    ease = np.clip((phase - 1 + share) / share, 0, 1)
    ease = ease * ease * (3 - 2 * ease)
    identity = np.broadcast_to(np.array([1.0, 0.0, 0.0, 0.0]), goal.shape)
    offset = multiply(goal, conjugate(motion.rotations[-1]))
    rotations = np.stack(
        [
            multiply(slerp(identity, offset, np.full(len(goal), e)), rotation)
            for e, rotation in zip(ease, motion.rotations, strict=False)
        ]
    )
    positions = motion.positions.copy()
    positions[:, 1] += ease * (positions[0, 1] - positions[-1, 1])
    return Motion(motion.step, positions, rotations), turn


def sample(motion: Motion, times: np.ndarray, repeat: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return root positions and joint rotations at some times, over as many cycles as needed."""
    turn = np.array([1.0, 0.0, 0.0, 0.0])
    if repeat:
        motion, turn = closed(motion)
    last = len(motion.positions) - 1
    cycles = np.floor(times / motion.duration).astype(int) if repeat else np.zeros(len(times), int)
    key = np.clip((times - cycles * motion.duration) / motion.step, 0, last)
    start = np.minimum(key.astype(int), last - 1)
    fraction = key - start
    positions = (
        motion.positions[start] * (1 - fraction[:, None])
        + motion.positions[start + 1] * fraction[:, None]
    )
    rotations = slerp(
        motion.rotations[start],
        motion.rotations[start + 1],
        np.broadcast_to(fraction[:, None], (len(times), len(JOINTS))),
    )
    # Every further cycle starts where, and heading as, the one before it ended.
    origin, heading = motion.positions[0] * [1, 0, 1], np.array([1.0, 0.0, 0.0, 0.0])
    placed = origin.copy()
    end = motion.positions[-1] * [1, 0, 1]
    for cycle in range(int(cycles.max()) + 1):
        here = cycles == cycle
        positions[here] = rotate(heading, positions[here] - origin) + placed
        rotations[here, 0] = multiply(
            np.broadcast_to(heading, (int(here.sum()), 4)), rotations[here, 0]
        )
        placed = placed + rotate(heading, end - origin)
        heading = multiply(heading, turn)
    return positions, rotations


def joint_poses(
    positions: np.ndarray, rotations: np.ndarray, figure: Figure
) -> tuple[np.ndarray, np.ndarray]:
    """Return every joint's place and orientation in the world, per frame."""
    scale = {"trunk": 1.0, "leg": figure.leg, "arm": figure.arm}
    places, turns = np.zeros((*rotations.shape[:2], 3)), np.zeros(rotations.shape)
    for number, joint in enumerate(JOINTS):
        if joint.parent < 0:
            places[:, number], turns[:, number] = positions, rotations[:, number]
            continue
        offset = np.array(joint.offset) * scale[joint.part]
        turns[:, number] = multiply(turns[:, joint.parent], rotations[:, number])
        places[:, number] = places[:, joint.parent] + rotate(turns[:, joint.parent], offset)
    return places, turns


def facing(turns: np.ndarray) -> np.ndarray:
    """Return the horizontal unit vector the figure faces, per frame.

    Upright it is where the pelvis's front points; on all fours, where the spine points to the
    head. Their sum, spine weighted by how far the front looks down, covers both.
    """
    front = rotate(turns[:, 0], np.array([1.0, 0.0, 0.0]))
    spine = rotate(turns[:, 0], UP)
    ahead = front * np.abs(spine[:, 1:2]) + spine * np.maximum(-front[:, 1:2], 0)
    ahead[:, 1] = 0
    return ahead / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)


# The figure.


def shapes(figure: Figure, sleeves: int, trousers: bool) -> list[Shape]:
    """Return the figure's limbs; sleeves are 0 (none), 1 (short) or 2 (long)."""
    girth = figure.girth
    made: list[Shape] = []

    def limb(
        joint: str,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        radii: tuple[float, float],
        material: str,
        widening: float = 1.0,
        scale: float = 1.0,
        thickness: float = girth,
    ) -> None:
        made.append(
            Shape(
                INDEX[joint],
                np.array(start) * scale,
                np.array(end) * scale,
                radii[0] * thickness,
                radii[1] * thickness,
                widening,
                material,
            )
        )

    limb("root", (-0.01, 0.03, -0.07), (-0.01, 0.03, 0.07), (0.10, 0.10), "trousers")
    limb("root", (0.0, 0.10, 0.0), (0.0, 0.25, 0.0), (0.105, 0.11), "shirt", 1.3)
    limb("chest", (0.0, 0.02, 0.0), (0.0, 0.16, 0.0), (0.11, 0.115), "shirt", 1.35)
    limb("chest", (-0.015, 0.20, -0.12), (-0.015, 0.20, 0.12), (0.072, 0.072), "shirt")
    limb("neck", (0.0, -0.02, 0.0), (0.01, 0.08, 0.0), (0.052, 0.048), "skin")
    head, lift = figure.head, 0.165 + 0.09 * (figure.head - 1)

    def on_head(
        x: float,
        y: float,
        z: float,
        x_end: float,
        y_end: float,
        z_end: float,
        radii: tuple[float, float],
        material: str,
        widening: float = 1.0,
    ) -> None:
        limb(
            "neck",
            (x * head, y * head + lift, z * head),
            (x_end * head, y_end * head + lift, z_end * head),
            radii,
            material,
            widening,
            thickness=head,
        )

    on_head(0.02, -0.03, 0.0, 0.005, 0.025, 0.0, (0.082, 0.095), "skin", 0.92)
    on_head(-0.022, 0.0, 0.0, -0.012, 0.04, 0.0, (0.096, 0.093), "hair", 0.95)
    on_head(0.098, -0.005, 0.0, 0.108, -0.018, 0.0, (0.011, 0.016), "skin")
    for side in (-1, 1):
        on_head(0.088, 0.012, side * 0.034, 0.09, 0.016, side * 0.034, (0.014, 0.013), "eye")
    sleeve = ("skin", "shirt", "shirt")[sleeves], ("skin", "skin", "shirt")[sleeves]
    for side in ("right", "left"):
        limb(
            f"{side}_shoulder",
            (0, -0.01, 0),
            (0, -0.27, 0),
            (0.054, 0.042),
            sleeve[0],
            scale=figure.arm,
        )
        limb(f"{side}_elbow", (0, 0, 0), (0, -0.24, 0), (0.042, 0.030), sleeve[1], scale=figure.arm)
        limb(f"{side}_wrist", (0, 0.01, 0), (0.01, -0.02, 0), (0.040, 0.042), "skin")
        limb(f"{side}_hip", (0, 0, 0), (0, -0.41, 0), (0.088, 0.056), "trousers", scale=figure.leg)
        limb(
            f"{side}_knee",
            (0, 0, 0),
            (0, -0.40, 0),
            (0.056, 0.038),
            "trousers" if trousers else "skin",
            scale=figure.leg,
        )
        limb(f"{side}_ankle", (-0.03, -0.012, 0), (0.12, -0.022, 0), (0.040, 0.030), "shoes", 1.1)
    return made


def lowest(places: np.ndarray, turns: np.ndarray, limbs: list[Shape]) -> np.ndarray:
    """Return the height of the figure's lowest point, per frame."""
    heights = [
        places[:, s.joint, 1] + rotate(turns[:, s.joint], end)[:, 1] - radius
        for s in limbs
        for end, radius in ((s.start, s.start_radius), (s.end, s.end_radius))
    ]
    return np.min(heights, axis=0)


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth a series along its first axis by a Gaussian, its ends held."""
    reach = max(1, int(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate(
        [np.repeat(values[:1], reach, 0), values, np.repeat(values[-1:], reach, 0)]
    )
    return np.apply_along_axis(lambda column: np.convolve(column, kernel, "valid"), 0, padded)


def perform(
    action: str,
    figure: Figure,
    limbs: list[Shape],
    frames: int,
    speed: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints' places and orientations as the figure performs an action."""
    motion = crawl_on_knees(figure, rng) if action == "crawl_knees" else captured(action)
    times = np.arange(frames) / RATE * speed
    if action in UNREPEATED:
        times += rng.uniform(0, max(0.0, motion.duration - times[-1]))
    else:
        times += rng.uniform(0, motion.duration)
    positions, rotations = sample(motion, times, action not in UNREPEATED)
    adult = Figure()
    adult_limbs = shapes(adult, 0, False)
    if action == "crawl_knees":
        floor_gap = np.zeros(frames)
    else:
        gap = lowest(*joint_poses(positions, rotations, adult), adult_limbs)
        floor_gap = np.maximum(gap, 0) if action in AIRBORNE else np.zeros(frames)
        positions[:, [0, 2]] *= (
            figure.leg if action != "crawl" else (1 + figure.leg + figure.arm) / 3
        )
    places, turns = joint_poses(positions, rotations, figure)
    rise = smoothed(floor_gap - lowest(places, turns, limbs), 1.0)
    places[:, :, 1] += rise[:, None]
    return places, turns


def capsule_mesh(shape: Shape, around: int = 12, rings: int = 4) -> dict[str, list]:
    """Return vertices, normals, texture coordinates and indices of a tapered capsule."""
    axis = shape.end - shape.start
    length = float(np.linalg.norm(axis))
    axis = axis / length
    side = np.cross(axis, [1.0, 0.0, 0.0] if abs(axis[0]) < 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    tilts = np.concatenate(
        [np.linspace(-np.pi / 2, 0, rings + 1), np.linspace(0, np.pi / 2, rings + 1)]
    )
    turns = np.linspace(0, 2 * np.pi, around + 1)
    vertices, normals, coordinates = [], [], []
    for row, tilt in enumerate(tilts):
        centre, radius = (
            (shape.start, shape.start_radius) if row <= rings else (shape.end, shape.end_radius)
        )
        for turn in turns:
            normal = np.sin(tilt) * axis + np.cos(tilt) * (
                np.cos(turn) * side + np.sin(turn) * other
            )
            vertices.append((centre + radius * normal) * [1, 1, shape.widening])
            normal = normal * [1, 1, 1 / shape.widening]
            normals.append(normal / np.linalg.norm(normal))
            along = row / (len(tilts) - 1)
            coordinates.append([turn / (2 * np.pi), along])
    wide = around + 1
    corners = [
        [
            row * wide + c,
            row * wide + c + 1,
            (row + 1) * wide + c + 1,
            row * wide + c,
            (row + 1) * wide + c + 1,
            (row + 1) * wide + c,
        ]
        for row in range(len(tilts) - 1)
        for c in range(around)
    ]
    return {
        "vertices": np.array(vertices).tolist(),
        "normals": np.array(normals).tolist(),
        "uvs": coordinates,
        "indices": np.array(corners).ravel().tolist(),
    }


# Textures and surroundings.


def noise(size: int, cells: int, octaves: int, rng: np.random.Generator) -> np.ndarray:
    """Return tileable value noise in 0-1."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        count = cells << octave
        if count > size // 2:
            break
        grid = np.pad(rng.random((count, count), np.float32), 2, mode="wrap")
        scale = size // count
        grown = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += (
            cv2.resize(
                grown[2 * scale : 2 * scale + count * scale, 2 * scale : 2 * scale + count * scale],
                (size, size),
            )
            * 0.6**octave
        )
    total -= total.min()
    return total / max(float(total.max()), 1e-6)


def colour(rng: np.random.Generator, vivid: float = 0.6) -> np.ndarray:
    """Return a random colour, red, green, blue in 0-255."""
    hue, saturation = rng.uniform(0, 180), rng.uniform(0, 255 * vivid)
    pixel = np.array([[[hue, saturation, rng.uniform(40, 245)]]], np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def texture(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """Return a tileable procedural texture of visible contrast."""
    kind = rng.choice(["noise", "stripes", "checks", "blocks", "tiles", "waves", "spots"])
    count = int(2 ** rng.integers(1, 4))
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    if kind == "noise":
        mask = noise(size, int(2 ** rng.integers(2, 5)), 4, rng)
        mask = np.clip((mask - 0.5) * rng.uniform(1.5, 5) + 0.5, 0, 1)
    elif kind == "stripes":
        wave = (x * count + (y * rng.integers(-2, 3))) % 1.0
        mask = (wave < rng.uniform(0.2, 0.7)).astype(np.float32)
    elif kind == "checks":
        mask = ((np.floor(x * 2 * count) + np.floor(y * 2 * count)) % 2).astype(np.float32)
    elif kind == "blocks":
        mask = rng.random((2 * count, 2 * count), np.float32)
        mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
    elif kind == "tiles":  # planks or tiles with joints between them
        tall = int(2 * count)
        row = np.floor(y * tall)
        shifted = x + (row % 2) * 0.5 / count
        joint = ((y * tall) % 1 < 0.12) | ((shifted * count) % 1 < 0.12 * count / tall)
        shade = rng.random((tall, count), np.float32)
        mask = np.where(
            joint, 1.0, 0.6 * shade[row.astype(int), np.floor(shifted * count).astype(int) % count]
        )
    elif kind == "waves":
        bend = noise(size, 4, 3, rng) * rng.uniform(0.5, 2)
        mask = 0.5 + 0.5 * np.sin(2 * np.pi * (count * y + bend))
    else:
        field = noise(size, int(4 * count), 1, rng)
        mask = (field > rng.uniform(0.55, 0.7)).astype(np.float32)
    first, second = colour(rng), colour(rng)
    grey = np.array([0.3, 0.6, 0.1], np.float32)
    for _ in range(50):
        if abs(float((first - second) @ grey)) > 45:
            break
        second = colour(rng)
    mask = mask.astype(np.float32)[..., None]
    mixed = first * (1 - mask) + second * mask
    fine = noise(size, 8, 3, rng)[..., None] - 0.5
    return np.clip(mixed + fine * rng.uniform(6, 40), 0, 255).astype(np.uint8)


def levels(image: np.ndarray, count: int = 5) -> list[np.ndarray]:
    """Return a texture at decreasing sharpness, all of the same size, edges wrapped."""
    made = [image]
    size = image.shape[0]
    for level in range(1, count):
        small = cv2.resize(image, (size >> level, size >> level), interpolation=cv2.INTER_AREA)
        small = np.pad(small, ((1, 1), (1, 1), (0, 0)), mode="wrap")
        scale = 1 << level
        grown = cv2.resize(small, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        made.append(grown[scale:-scale, scale:-scale])
    return made


def look_up(
    pyramid: list[np.ndarray], u: np.ndarray, v: np.ndarray, footprint: np.ndarray
) -> np.ndarray:
    """Sample a tiled texture; the footprint, in texels, decides on its sharpness."""
    size = pyramid[0].shape[0]
    u, v = np.mod(u, size).astype(np.float32), np.mod(v, size).astype(np.float32)
    level = np.clip(np.log2(np.maximum(footprint, 1.0)) - 0.4, 0, len(pyramid) - 1)
    result = np.zeros((*u.shape, 3), np.float32)
    for number, image in enumerate(pyramid):
        weight = np.maximum(1 - np.abs(level - number), 0).astype(np.float32)
        if weight.any():
            result += weight[..., None] * cv2.remap(
                image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
    return result


def surroundings(places: np.ndarray, camera: Camera, rng: np.random.Generator) -> Scene:
    """Make up floor, walls and sky round a figure's path and a camera's."""
    angle = rng.uniform(0, np.pi / 2)
    turn = about(1, -angle)
    points = np.concatenate([places.reshape(-1, 3), camera.positions])
    points = rotate(np.broadcast_to(turn, (len(points), 4)), points)
    room = None
    if rng.random() < 0.7:
        margin = rng.uniform(0.6, 4.0, (2, 2))
        room = (points.min(0)[[0, 2]] - margin[0], points.max(0)[[0, 2]] + margin[1])
    y = np.linspace(0, 1, 256, dtype=np.float32)[:, None, None]
    sky = colour(rng) * (1 - y) + colour(rng) * y
    clouds = noise(256, 4, 4, rng)[..., None] - 0.5
    sky = np.clip(sky + clouds * rng.uniform(20, 120), 0, 255).astype(np.uint8)
    return Scene(
        levels(texture(rng)),
        rng.uniform(1.3, 4.0),
        rng.uniform(0, 2 * np.pi),
        levels(texture(rng)),
        rng.uniform(1.0, 4.0),
        sky,
        room,
        angle,
    )


def view_axes(position: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a camera's forward, right and up directions."""
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, UP)
    right /= np.linalg.norm(right)
    return forward, right, np.cross(right, forward)


def backdrop(
    scene: Scene, position: np.ndarray, target: np.ndarray, field_of_view: float
) -> tuple[np.ndarray, np.ndarray]:
    """Trace floor, walls and sky; return their picture and where the floor is."""
    width, height = WIDTH, HEIGHT
    forward, right, up = view_axes(position, target)
    slope = np.tan(np.radians(field_of_view) / 2)
    across = ((np.arange(width) + 0.5) / width * 2 - 1) * slope * width / height
    upward = (1 - (np.arange(height) + 0.5) / height * 2) * slope
    rays = forward + across[None, :, None] * right + upward[:, None, None] * up
    rays, position = rays.astype(np.float32), position.astype(np.float32)
    texel = 2 * slope / height  # width of a pixel at distance one
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[..., 1] < -1e-4, -position[1] / rays[..., 1], np.inf)
    cosine, sine = np.cos(scene.room_angle), np.sin(scene.room_angle)
    turned = np.array([[cosine, -sine], [sine, cosine]], np.float32)
    if scene.room is not None:
        ray, eye = rays[..., [0, 2]] @ turned.T, position[[0, 2]] @ turned.T
        with np.errstate(divide="ignore", invalid="ignore"):
            hits = (np.where(ray > 0, scene.room[1], scene.room[0]) - eye) / ray
        wall_depth = np.nanmin(hits, axis=-1)
        first = hits[..., 0] < hits[..., 1]
        plane = eye + wall_depth[..., None] * ray
        along = np.where(first, plane[..., 1], plane[..., 0] + 0.37)
        is_wall = wall_depth < depth
        density = scene.wall[0].shape[0] / scene.wall_size
        high = position[1] + wall_depth * rays[..., 1]
        picture = look_up(
            scene.wall, along * density, -high * density, wall_depth * texel * density
        )
        picture *= np.where(first, 0.8, 1.0)[..., None]
    else:
        is_wall = depth > 80
        azimuth = np.arctan2(rays[..., 2], rays[..., 0]) / (2 * np.pi)
        level = rays[..., 1] / np.linalg.norm(rays, axis=-1)
        picture = look_up([scene.sky], azimuth * 512, 128 - level * 127, np.ones(azimuth.shape))
    reach = np.where(is_wall, 0.0, depth)
    ground = position + reach[..., None] * rays
    cosine, sine = np.cos(scene.floor_angle), np.sin(scene.floor_angle)
    density = scene.floor[0].shape[0] / scene.floor_size
    u = (ground[..., 0] * cosine - ground[..., 2] * sine) * density
    v = (ground[..., 0] * sine + ground[..., 2] * cosine) * density
    slant = np.maximum(-rays[..., 1], 0.02)
    floor = look_up(scene.floor, u, v, reach * texel * density / np.sqrt(slant))
    return np.where(is_wall[..., None], picture, floor), ~is_wall


def shadow(
    shape_ends: np.ndarray,
    radii: np.ndarray,
    light: np.ndarray,
    position: np.ndarray,
    target: np.ndarray,
    field_of_view: float,
) -> np.ndarray:
    """Return a mask of the limbs' shadow on the floor, seen by the camera; limbs as thick lines."""
    width, height = WIDTH, HEIGHT
    forward, right, up = view_axes(position, target)
    focal = height / 2 / np.tan(np.radians(field_of_view) / 2)
    mask = np.zeros((height, width), np.float32)
    ends = shape_ends - light * (shape_ends[..., 1:2] / light[1])
    sight = ends - position
    depth = sight @ forward
    u = width / 2 + focal * (sight @ right) / depth
    v = height / 2 - focal * (sight @ up) / depth
    for number in range(len(ends)):
        if depth[number].min() < 0.2:
            continue
        thickness = max(1, int(1.7 * radii[number] * focal / depth[number].mean()))
        start, end = [
            (int(np.clip(u[number, k], -2000, 2000)), int(np.clip(v[number, k], -2000, 2000)))
            for k in (0, 1)
        ]
        cv2.line(mask, start, end, 1.0, min(thickness, 200))
    return cv2.GaussianBlur(mask, (0, 0), 1.5)


# The camera.


def project(
    points: np.ndarray, position: np.ndarray, target: np.ndarray, field_of_view: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return points' picture coordinates, in picture heights from the centre, and depth."""
    forward, right, up = view_axes(position, target)
    sight = points - position
    depth = np.maximum(sight @ forward, 1e-3)
    focal = 0.5 / np.tan(np.radians(field_of_view) / 2)
    return np.stack([sight @ right, sight @ up], -1) * focal / depth[..., None], sight @ forward


def film(places: np.ndarray, rng: np.random.Generator) -> Camera:
    """Choose a camera: still, following, or drifting, a third each."""
    mode = str(rng.choice(["still", "follow", "drift"]))
    tracks = mode == "follow" and rng.random() < 0.6  # moves along, else it pans or drifts
    frames = len(places)
    field_of_view = rng.uniform(25, 55)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(5, 45))
    away = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.sin(azimuth) * np.cos(elevation),
        ]
    )
    fill = rng.uniform(0.45, 0.95)
    centres = places.mean(1)
    middle = centres[0] if tracks else (centres.min(0) + centres.max(0)) / 2
    aspect = WIDTH / HEIGHT
    poses = (places - centres[:, None] + middle)[::4]  # as if the figure stayed in place
    for distance in np.geomspace(0.8, 14, 60):
        position = middle + distance * away
        seen, depth = project(poses, position, middle, field_of_view)
        extent = np.max(np.ptp(seen, axis=1), axis=0) + 0.12 / distance
        if max(extent[1], 0.85 * extent[0] / aspect) > fill:
            continue
        met = poses if tracks else places
        if np.linalg.norm(met - position, axis=-1).min() < 0.6 * distance:
            continue
        if tracks:
            break
        seen, depth = project(centres, position, middle, field_of_view)
        inside = (np.abs(seen[:, 0]) < 0.45 * aspect) & (np.abs(seen[:, 1]) < 0.45)
        # A still camera must keep most of the path in sight; a panning one turns along with it.
        if np.mean(inside & (depth > 0)) >= {"still": 0.85, "drift": 0.5, "follow": 0.0}[mode]:
            break
    path = smoothed(centres, rng.uniform(3, 9))
    positions = np.repeat((middle + distance * away)[None], frames, 0)
    targets = np.repeat(middle[None], frames, 0)
    steps = np.arange(frames)[:, None] / RATE
    if mode == "follow":
        gain = rng.uniform(0.9, 1.1)
        start = path[0] if tracks else middle
        targets = targets + (path - start) * gain
        if tracks:
            positions = positions + (path - start) * gain * [1, rng.uniform(0, 1), 1]
    elif mode == "drift":
        drift = rng.normal(0, 1, 3) * [1, 0.4, 1]
        drift *= rng.uniform(0.1, 0.5) * distance / 4 / np.linalg.norm(drift)
        positions = positions + drift * (steps - steps.mean())
        share = rng.uniform(0.3, 0.9)
        targets = targets + share * (path - middle)
    if rng.random() < (0.3 if mode == "still" else 0.7):
        amount = distance * np.tan(np.radians(field_of_view) / 2) * rng.uniform(0.01, 0.04)
        shake = smoothed(rng.normal(0, 1, (frames, 3)), rng.uniform(2, 5))
        targets = targets + amount * shake / shake.std()
    offset = rng.uniform(-0.12, 0.12, 2) * distance * np.tan(np.radians(field_of_view) / 2)
    _, right, up = view_axes(positions[0], targets[0])
    targets = targets + right * offset[0] + up * offset[1]
    positions[:, 1] = np.maximum(positions[:, 1], 0.12)
    return Camera(mode, positions, targets, float(field_of_view))


# Clips.


def materials(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a colour for each material, red, green, blue in 0-1."""
    tones = np.array(
        [
            [255, 224, 196],
            [240, 200, 165],
            [224, 172, 125],
            [190, 130, 90],
            [141, 85, 54],
            [90, 56, 37],
        ],
        np.float32,
    )
    skin = tones[rng.integers(len(tones))] + rng.normal(0, 8, 3)
    hair = np.array(
        [
            [30, 22, 18],
            [80, 50, 30],
            [150, 110, 60],
            [120, 120, 120],
            [200, 170, 110],
            [25, 25, 30],
        ],
        np.float32,
    )[rng.integers(6)]
    chosen = {
        "skin": skin,
        "hair": hair if rng.random() < 0.85 else skin,
        "shirt": colour(rng, 0.9),
        "trousers": colour(rng, 0.9),
        "shoes": colour(rng, 0.8),
        "eye": np.array([20.0, 20.0, 25.0]),
    }
    dress = rng.random()
    if dress < 0.15:  # one suit
        chosen["trousers"] = chosen["shirt"]
    elif dress < 0.3:  # bare feet
        chosen["shoes"] = skin
    elif dress < 0.36:  # hardly dressed
        chosen["shirt"] = chosen["shoes"] = skin
    return {name: np.clip(value, 5, 255) / 255 for name, value in chosen.items()}


def figure_for(action: str, rng: np.random.Generator) -> Figure:
    """Choose a figure's proportions; a crawling one is often a baby: large head, short limbs."""
    if action in ("crawl", "crawl_knees") and rng.random() < 0.75:
        return Figure(
            rng.uniform(1.3, 1.7),
            rng.uniform(0.74, 0.9),
            rng.uniform(0.74, 0.88),
            rng.uniform(1.05, 1.35),
        )
    return Figure(
        rng.uniform(0.92, 1.3),
        rng.uniform(0.9, 1.08),
        rng.uniform(0.92, 1.06),
        rng.uniform(0.8, 1.25),
    )


def embody(
    limbs: list[Shape], colours: dict[str, np.ndarray], patterns: dict[str, int]
) -> list[int]:
    """Make the limbs' bodies in the (emptied) simulation; return their identifiers."""
    bodies = []
    for limb in limbs:
        shape = pybullet.createVisualShape(
            pybullet.GEOM_MESH,
            **capsule_mesh(limb),
            rgbaColor=[*colours[limb.material], 1.0],
            specularColor=[0.1, 0.1, 0.1],
        )
        body = pybullet.createMultiBody(baseVisualShapeIndex=shape)
        if limb.material in patterns:
            pybullet.changeVisualShape(
                body, -1, textureUniqueId=patterns[limb.material], rgbaColor=[1, 1, 1, 1]
            )
        bodies.append(body)
    return bodies


def clip(
    action: str, speed: float, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, str]:
    """Render one clip; return its frames (red, green, blue) and the camera's kind."""
    figure = figure_for(action, rng)
    limbs = shapes(figure, int(rng.integers(3)), bool(rng.random() < 0.6))
    places, turns = perform(action, figure, limbs, frames, speed, rng)
    camera = film(places, rng)
    scene = surroundings(places, camera, rng)
    pybullet.resetSimulation()
    patterns = {}
    with tempfile.TemporaryDirectory() as folder:
        for material in ("shirt", "trousers"):
            if rng.random() < 0.35:
                path = f"{folder}/{material}.png"
                cv2.imwrite(path, texture(rng, 64))
                patterns[material] = pybullet.loadTexture(path)
        bodies = embody(limbs, materials(rng), patterns)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(25, 85))
    light = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.sin(azimuth) * np.cos(elevation),
        ]
    )
    ambient, darkness = rng.uniform(0.4, 0.65), rng.uniform(0.2, 0.6) * (rng.random() < 0.75)
    blur = rng.uniform(0.4, 0.9) if rng.random() < 0.4 else 0.0
    grain = rng.uniform(1.0, 3.0) if rng.random() < 0.15 else 0.0
    gain = rng.uniform(0.75, 1.15)
    width, height = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    projection = pybullet.computeProjectionMatrixFOV(
        camera.field_of_view, width / height, NEAR, FAR
    )
    radii = np.array([(limb.start_radius + limb.end_radius) / 2 for limb in limbs])
    ends = np.stack(
        [
            np.stack(
                [
                    places[:, limb.joint] + rotate(turns[:, limb.joint], end)
                    for end in (limb.start, limb.end)
                ],
                1,
            )
            for limb in limbs
        ],
        1,
    )
    made = np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8)
    for number in range(frames):
        for limb, body in zip(limbs, bodies, strict=False):
            w, x, y, z = turns[number, limb.joint]
            pybullet.resetBasePositionAndOrientation(
                body, places[number, limb.joint].tolist(), [x, y, z, w]
            )
        eye, target = camera.positions[number], camera.targets[number]
        view = pybullet.computeViewMatrix(eye.tolist(), target.tolist(), UP.tolist())
        _, _, pixels, _, mask = pybullet.getCameraImage(
            width,
            height,
            view,
            projection,
            lightDirection=(light * 10).tolist(),
            lightColor=[1, 1, 1],
            lightDistance=10,
            shadow=0,
            lightAmbientCoeff=ambient,
            lightDiffuseCoeff=0.95 - ambient * 0.6,
            lightSpecularCoeff=0.1,
            renderer=pybullet.ER_TINY_RENDERER,
        )
        pixels = np.asarray(pixels, np.uint8).reshape(height, width, 4)[..., :3]
        mask = np.asarray(mask).reshape(height, width) >= 0
        picture, is_floor = backdrop(scene, eye, target, camera.field_of_view)
        if darkness:
            dim = shadow(ends[number], radii, light, eye, target, camera.field_of_view)
            picture = picture * (1 - darkness * (dim * is_floor)[..., None])
        cover = cv2.resize(mask.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        drawn = cv2.resize(
            pixels * mask[..., None].astype(np.float32),
            (WIDTH, HEIGHT),
            interpolation=cv2.INTER_AREA,
        )
        small = ((drawn + (1 - cover[..., None]) * picture) * gain).astype(np.float32)
        if blur:
            small = cv2.GaussianBlur(small, (0, 0), blur)
        if grain:
            small += rng.normal(0, grain, small.shape)
        made[number] = np.clip(small + 0.5, 0, 255)
    return made, camera.kind


def choose(number: int, seed: int) -> tuple[str, float, np.random.Generator]:
    """Return a clip's action, speed and generator; they depend on seed and number alone."""
    rng = np.random.default_rng([seed, number])
    action = str(rng.choice(list(WEIGHTS), p=np.array(list(WEIGHTS.values()))))
    return action, float(rng.uniform(0.7, 1.4)), rng


def connect() -> None:
    """Open the process's own simulation, without a window."""
    if not pybullet.isConnected():
        pybullet.connect(pybullet.DIRECT)
    cv2.setNumThreads(1)


def write_shard(job: tuple[str, str, range, int, int, int]) -> list[str]:
    """Render some clips into one video file; return their lines of the table."""
    folder, name, numbers, frames, seed, crf = job
    connect()
    command = [
        "ffmpeg",
        "-loglevel",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{WIDTH}x{HEIGHT}",
        "-r",
        str(RATE),
        "-i",
        "-",
        "-c:v",
        "libx264",
        "-preset",
        "slower",
        "-crf",
        str(crf),
        "-pix_fmt",
        "yuv420p",
        "-threads",
        "1",
        "-g",
        str(RATE * 10),
        str(Path(folder) / name),
    ]
    lines = []
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for place, number in enumerate(numbers):
            action, speed, rng = choose(number, seed)
            made, kind = clip(action, speed, frames, rng)
            encoder.stdin.write(made.tobytes())
            path = f"{number:04d}-{action}"
            lines.append(
                f"{name}\t{place * frames}\t{frames}\trendered\t{path}\t{kind}\t{speed:.3f}"
            )
    if encoder.returncode:
        raise RuntimeError(f"ffmpeg failed on {name}")
    return lines


def write_sheets(folder: Path, frames: int, seed: int, rows: int = 6, columns: int = 8) -> None:
    """Write a contact sheet per action: some clips as rows of evenly spaced frames."""
    connect()
    for place, action in enumerate(WEIGHTS):
        sheet = []
        for row in range(rows):
            rng = np.random.default_rng([seed, place, row])
            made, _ = clip(action, float(rng.uniform(0.7, 1.4)), frames, rng)
            chosen = np.linspace(0, frames - 1, columns).astype(int)
            sheet.append(np.concatenate(list(made[chosen]), axis=1))
        cv2.imwrite(str(folder / f"{action}.png"), np.concatenate(sheet)[..., ::-1])


def check_direction(seed: int, trials: int = 40, frames: int = 48) -> None:
    """Print, per gait, how the figures' speed over ground lies to the way they face."""
    print("action\tforward m/s\tcosine of course to facing (mean, least)\tframes forward")
    for action in GAITS:
        forwards, cosines, shares = [], [], []
        for trial in range(trials):
            rng = np.random.default_rng([seed, trial])
            figure = figure_for(action, rng)
            places, turns = perform(action, figure, shapes(figure, 1, True), frames, 1.0, rng)
            velocity = np.diff(places[:, 0], axis=0) * RATE * [1, 0, 1]
            ahead = facing(turns)[:-1]
            forward = np.sum(velocity * ahead, 1)
            course = velocity.mean(0) / np.linalg.norm(velocity.mean(0))
            average = ahead.mean(0) / np.linalg.norm(ahead.mean(0))
            forwards.append(forward.mean())
            cosines.append(course @ average)
            shares.append((forward > 0).mean())
        print(
            f"{action}\t{np.mean(forwards):.2f} (least {np.min(forwards):.2f})\t"
            f"{np.mean(cosines):.3f}, {np.min(cosines):.3f}\t{np.mean(shares):.2f}"
        )


def main() -> None:
    """Parse the command line and render."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        help="number of the first clip: with the same seed, goes on from there",
    )
    parser.add_argument("--frames", type=int, default=48, help="frames per clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="processes to render with")
    parser.add_argument("--shards", type=int, default=8, help="video files to write")
    parser.add_argument("--crf", type=int, default=23, help="H.264 quality: higher is smaller")
    parser.add_argument("--sheets", action="store_true", help="write contact sheets instead")
    parser.add_argument("--check", action="store_true", help="print the gaits' direction instead")
    options = parser.parse_args()
    if options.check:
        check_direction(options.seed)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if options.sheets:
        write_sheets(options.out, options.frames, options.seed)
        return
    bounds = options.first + np.linspace(0, options.clips, options.shards + 1).astype(int)
    jobs = [
        (
            str(options.out),
            f"rendered-{shard:03d}.mkv",
            range(first, last),
            options.frames,
            options.seed,
            options.crf,
        )
        for shard, (first, last) in enumerate(itertools.pairwise(bounds))
        if last > first
    ]
    with (
        multiprocessing.get_context("spawn").Pool(options.threads) as pool,
        open(options.out / "segments.tsv", "w", encoding="utf-8") as table,
    ):
        print("shard\tfirst_frame\tnum_frames\trepository\tpath\tcamera\tspeed", file=table)
        for lines in pool.imap(write_shard, jobs):
            print("\n".join(lines), file=table, flush=True)


if __name__ == "__main__":
    main()
