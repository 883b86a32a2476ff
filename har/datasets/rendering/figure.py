"""The articulated person of the `sample` data set: from joint angles to positions; its actions.

Lengths are in statures (1 = standing height), angles in radians, in the tables of key poses in
degrees. Body axes: x forward, y to the person's left, z up; the origin is the floor between the
feet.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

# Segment lengths as fractions of stature: Drillis & Contini, Body Segment Parameters (1966), as
# reproduced in Winter, Biomechanics and Motor Control of Human Movement, figure 4.1.
PROPORTIONS: Mapping[str, float] = {
    "ankle": 0.039,
    "shank": 0.246,
    "thigh": 0.245,
    "trunk": 0.288,
    "neck": 0.052,
    "head": 0.130,
    "shoulders": 0.259,
    "hips": 0.191,
    "upper_arm": 0.186,
    "forearm": 0.146,
    "hand": 0.108,
    "foot": 0.152,
}

# The pelvis is as wide as the hips' outline; the joint centres lie further in.
HIP_JOINTS = 0.55
SHOULDER_JOINTS = 0.85
GRIP = 0.5  # where in the hand, from the wrist, a thing is held

_SIDED = ("shoulder", "abduction", "twist", "elbow", "hip", "spread", "knee")
ANGLES: tuple[str, ...] = (
    "trunk",
    "neck",
    "lift",
    *(f"{name}_{side}" for name in _SIDED for side in ("left", "right")),
)
"""Columns of a pose. `trunk` and `hip` are measured from the vertical, forward positive; `shoulder`
(flexion) and `abduction` from the hanging arm; `twist` is the upper arm's outward rotation; `elbow`
and `knee` are flexions, 0 = straight; `lift` is no angle but the feet's height above the floor."""

_COLUMN = {name: column for column, name in enumerate(ANGLES)}
_STANDING = {"trunk": 2, "shoulder": 2, "abduction": 9, "elbow": 14}
_STANDING |= {"hip": 2, "spread": 4, "knee": 4}


class Style(NamedTuple):
    """How one person moves: each value in [-1, 1], 0 is the average person."""

    depth: float = 0.0
    arms: float = 0.0
    lean: float = 0.0
    legs: float = 0.0


def pose(degrees: Mapping[str, float]) -> np.ndarray:
    """Build a pose (A,) in radians from named angles in degrees (`lift` in statures).

    The rest stands upright. A name without a side, such as `elbow`, sets both sides; a name with a
    side wins.
    """
    sides = {"left", "right"}
    merged = {**_STANDING, **{k: v for k, v in degrees.items() if k.split("_")[-1] not in sides}}
    merged |= {k: v for k, v in degrees.items() if k.split("_")[-1] in sides}
    angles = np.zeros(len(ANGLES))
    for name, value in merged.items():
        names = (f"{name}_left", f"{name}_right") if name in _SIDED else (name,)
        for column in names:
            angles[_COLUMN[column]] = value if name == "lift" else np.radians(value)
    return angles


def _swing(vector: np.ndarray, angle: np.ndarray, towards: int) -> np.ndarray:
    # Vectors (T, 3), so that one pointing down moves by `angle` (T,) towards axis 0 or 1.
    turned = vector.copy()
    cos, sin = np.cos(angle), np.sin(angle)
    turned[:, towards] = vector[:, towards] * cos - vector[:, 2] * sin
    turned[:, 2] = vector[:, towards] * sin + vector[:, 2] * cos
    return turned


def _spin(vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
    # Vectors (T, 3) turn by `angle` (T,) about the vertical, forward towards the left.
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = vector.T
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1)


def joints(
    angles: np.ndarray, proportions: Mapping[str, float] = PROPORTIONS
) -> dict[str, np.ndarray]:
    """Forward kinematics of `angles`, (T, A): (T, 3) float64 positions in statures by joint name.

    The feet stand still and the body moves over them: the lower ankle is `lift` above its standing
    height and the mean of both ankles stays over the origin.
    """
    count = len(angles)
    at = {name: angles[:, column] for name, column in _COLUMN.items()}
    down = np.tile([0.0, 0.0, -1.0], (count, 1))
    mirror = {"left": np.array([1.0, 1.0, 1.0]), "right": np.array([1.0, -1.0, 1.0])}

    def lean(vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
        return _swing(vector, -angle, 0)

    body = {"pelvis": np.zeros((count, 3))}
    body["chest"] = lean(-down * proportions["trunk"], at["trunk"])
    nod = at["trunk"] + at["neck"]
    body["chin"] = body["chest"] + lean(-down * proportions["neck"], nod)
    body["crown"] = body["chin"] + lean(-down * proportions["head"], nod)

    for side, flip in mirror.items():
        shoulder, abduction = at[f"shoulder_{side}"], at[f"abduction_{side}"]
        upper = lean(_swing(_swing(down, shoulder, 0), abduction, 1) * flip, at["trunk"])
        bent = _spin(_swing(down, at[f"elbow_{side}"], 0), at[f"twist_{side}"])
        lower = lean(_swing(_swing(bent, shoulder, 0), abduction, 1) * flip, at["trunk"])
        across = np.array([0.0, proportions["shoulders"] / 2 * SHOULDER_JOINTS, 0.0]) * flip
        body[f"shoulder_{side}"] = body["chest"] + across
        body[f"elbow_{side}"] = body[f"shoulder_{side}"] + upper * proportions["upper_arm"]
        body[f"wrist_{side}"] = body[f"elbow_{side}"] + lower * proportions["forearm"]
        body[f"grip_{side}"] = body[f"wrist_{side}"] + lower * proportions["hand"] * GRIP
        body[f"fingers_{side}"] = body[f"wrist_{side}"] + lower * proportions["hand"]

        hip, spread = at[f"hip_{side}"], at[f"spread_{side}"]
        thigh = _swing(_swing(down, hip, 0), spread, 1) * flip
        shank = _swing(_swing(down, hip - at[f"knee_{side}"], 0), spread, 1) * flip
        foot = _spin(np.tile([1.0, 0.0, 0.0], (count, 1)), np.full(count, 0.25)) * flip
        across = np.array([0.0, proportions["hips"] / 2 * HIP_JOINTS, 0.0]) * flip
        body[f"hip_{side}"] = np.tile(across, (count, 1))
        body[f"knee_{side}"] = body[f"hip_{side}"] + thigh * proportions["thigh"]
        body[f"ankle_{side}"] = body[f"knee_{side}"] + shank * proportions["shank"]
        body[f"toes_{side}"] = body[f"ankle_{side}"] + foot * proportions["foot"] * 0.75
        body[f"toes_{side}"][:, 2] -= proportions["ankle"] * 0.5

    ankles = np.stack([body["ankle_left"], body["ankle_right"]])
    ground = ankles.mean(axis=0)
    ground[:, 2] = ankles[:, :, 2].min(axis=0) - proportions["ankle"] - at["lift"]
    return {name: position - ground for name, position in body.items()}


Keys = list[tuple[float, np.ndarray]]


def jumping_jack(style: Style) -> Keys:
    """Feet together, arms down; astride, arms overhead; and back."""
    high, wide = 150 + 16 * style.arms, 21 + 4 * style.legs
    hop = 0.045 + 0.015 * style.depth
    closed = pose({"abduction": 10, "hip": 13, "knee": 26, "spread": 3, "trunk": 5})
    flying = pose({"abduction": high / 2, "elbow": 25, "twist": 60, "spread": wide / 2})
    flying[_COLUMN["lift"]] = hop
    astride = pose({"abduction": high, "elbow": 22, "twist": 90, "spread": wide, "knee": 10})
    return [(0.0, closed), (0.25, flying), (0.5, astride), (0.75, flying), (1.0, closed)]


def squats(style: Style) -> Keys:
    """One squat: down over the heels with the arms stretched forward, and up again."""
    deep = 0.85 + 0.15 * style.depth
    trunk = 32 + 8 * style.lean
    low = {"hip": 82 * deep, "knee": 108 * deep, "trunk": trunk, "neck": -20}
    low |= {"shoulder": trunk + 78 + 10 * style.arms, "elbow": 6, "spread": 14 + 5 * style.legs}
    upright = pose({"hip": 3, "knee": 6, "spread": 8 + 3 * style.legs, "shoulder": 12})
    return [(0.0, upright), (0.5, pose(low)), (1.0, upright)]


def sit_down(style: Style) -> Keys:
    """From standing, hips back with the trunk leaning forward, on to a seat; hands to the knees."""
    lean, reach = 38 + 8 * style.lean, 30 + 20 * style.arms
    half = {"hip": 48, "knee": 66, "trunk": lean, "neck": -12, "shoulder": lean + reach}
    low = {"hip": 78, "knee": 90, "trunk": lean, "neck": -10, "shoulder": lean + reach * 0.7}
    seated = {"hip": 85 + 5 * style.depth, "knee": 88 + 6 * style.legs}
    seated |= {"trunk": -4 + 4 * style.lean}
    seated |= {"shoulder": 20, "elbow": 50, "abduction": 8, "neck": 4, "spread": 7}
    return [
        (0.0, pose({"hip": 4, "knee": 8})),
        (0.4, pose(half | {"elbow": 22, "spread": 6})),
        (0.75, pose(low | {"elbow": 35, "spread": 7})),
        (1.0, pose(seated)),
    ]


def pick_up(style: Style) -> Keys:
    """Bend (`depth` -1: from the hips; 1: from the knees), grasp at 0.5, rise holding the thing."""
    squat = (style.depth + 1) / 2
    hip, knee = 14 + 78 * squat, 22 + 90 * squat
    trunk = 92 - 48 * squat + 5 * style.lean
    bent = {"hip": hip, "knee": knee, "trunk": trunk, "shoulder": trunk + 14, "elbow": 8}
    bent |= {"neck": -25, "spread": 5 + 5 * squat, "abduction": 3}
    halfway = {name: 0.55 * value for name, value in bent.items()} | {"spread": 5}
    held = {"shoulder": 18 + 8 * style.arms, "elbow": 72 + 14 * style.arms}
    held |= {"abduction": 3, "trunk": -3}
    lifting = halfway | {"shoulder": 0.5 * trunk + 16, "elbow": 38}
    return [
        (0.0, pose({})),
        (0.24, pose(halfway)),
        (0.46, pose(bent)),
        (0.54, pose(bent)),
        (0.76, pose(lifting)),
        (1.0, pose(held)),
    ]


MOTIONS: Mapping[str, Callable[[Style], Keys]] = {
    "jumping_jack": jumping_jack,
    "squats": squats,
    "sit_down": sit_down,
    "pick_up": pick_up,
}
CYCLIC = frozenset({"jumping_jack", "squats"})


def trajectory(motion: str, progress: np.ndarray, style: Style) -> np.ndarray:
    """Joint angles over time, float64 (T, A): monotone cubics, so no joint overshoots a key pose.

    A cyclic motion repeats every 1 of `progress`, float (T,); any other one holds its first pose
    below 0 and its last above 1.
    """
    times, poses = zip(*MOTIONS[motion](style), strict=True)
    times, poses = np.array(times), np.stack(poses)
    if motion in CYCLIC:
        # Neighbours on both sides give the slope at the seam.
        times = np.concatenate([times[:-1] - 1, times, times[1:] + 1])
        poses = np.concatenate([poses[:-1], poses, poses[1:]])
        return PchipInterpolator(times, poses)(progress % 1.0)
    # A flat neighbour on both sides starts and ends the motion at rest.
    times = np.concatenate([[-1.0], times, [2.0]])
    poses = np.concatenate([poses[:1], poses, poses[-1:]])
    return PchipInterpolator(times, poses)(np.clip(progress, 0.0, 1.0))
