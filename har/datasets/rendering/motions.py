"""Rendered people in random motions, seen from all around: what networks are pretrained on.

A motion is four key poses of the joints, the trunk's direction and place, drawn at random: upright,
lying, upside down; on the feet, on the floor, on a bar or in the air. Of each four motions, the
last two differ only in the direction of time. Everything else differs from clip to clip.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

from har.datasets.rendering import figure, film, scene

SHAPE = (40, 64, 64)  # frames, height, width
MOTIONS = 1024
_GIRTH = (0.9, 1.4)
# Degrees: the reach of each joint, and where it is while a person stands.
_REACH = {
    "trunk": (-15, 80, 2),
    "neck": (-30, 30, 0),
    "shoulder": (-40, 180, 2),
    "abduction": (0, 170, 9),
    "twist": (-30, 90, 0),
    "elbow": (0, 140, 14),
    "hip": (-20, 110, 2),
    "spread": (0, 50, 4),
    "knee": (0, 130, 4),
}
_COLUMN = {name: column for column, name in enumerate(figure.ANGLES)}
_FLOOR = np.array([1, 1, 0])


class Motion(NamedTuple):
    """What all clips of a motion share."""

    keys: np.ndarray  # (4, A + 6): joints; the trunk's pitch, roll, yaw; its place, x, y, z
    times: np.ndarray  # (4,), of the keys, in cycles
    held: str  # what stays in its place: feet, floor, hands, air
    spin: int  # somersaults a cycle
    hz: float  # cycles a second
    backwards: bool


def motion(number: int) -> Motion:
    """Draw motion `number`, from 0."""
    pair, backwards = number % 4 > 1, number % 4 == 3
    rng = np.random.default_rng([film.SEED, number // 2 if pair else number, int(pair)])
    standing = {True: rng.random() < 0.5, False: rng.random() < 0.35}  # legs, arms
    often = {name: 0.25 if name in ("neck", "twist", "spread") else 0.42 for name in _REACH}
    moving = [name for name in _REACH if rng.random() < often[name]]
    swings, turns, rises, travels = (rng.random() < part for part in (0.12, 0.12, 0.22, 0.12))
    while len(moving) + swings + turns + rises + travels < 2:
        moving.append(list(_REACH)[rng.integers(len(_REACH))])
    sides = rng.choice(3, p=[0.5, 0.33, 0.17])  # both alike, in turn, one alone
    keys = np.zeros((4, len(figure.ANGLES) + 6))
    for name, (low, high, rest) in _REACH.items():
        stands = standing[name in ("hip", "spread", "knee")]
        base = rest if rng.random() < (0.8 if stands else 0.35) else rng.uniform(low, high)
        values = np.full(4, base, float)
        if name in moving:
            way = rng.choice([-1, 1]) * rng.uniform(0.3, 0.9) * (high - low)
            other = np.clip(base + way, low, high)
            if abs(other - base) < 0.25 * (high - low):
                other = low + high - base
            shape, late = rng.choice(4), rng.integers(4)
            shapes = [0, 0.5, 1, 0.5], [0, 0.85, 1, 0.3], [0, 1, 0, 1], rng.uniform(0, 1, 4)
            share = shapes[shape]
            values = base + (other - base) * np.roll(share, late if rng.random() < 0.3 else 0)
        if name in ("trunk", "neck"):
            keys[:, _COLUMN[name]] = values
            continue
        still = np.full(4, base) if name in moving else values
        keys[:, _COLUMN[f"{name}_left"]] = values
        keys[:, _COLUMN[f"{name}_right"]] = (values, np.roll(values, 2), still)[sides]
    root = keys[:, -6:]  # pitch, roll, yaw; x, y, z
    lying = rng.random()
    if lying >= 0.75:
        root[:, 0] = rng.uniform(-180, 180)
    elif lying >= 0.5:
        root[:, 0] = rng.choice([90, -90]) + rng.normal(0, 15)
    root[:, 1] = 0 if rng.random() < 0.8 else rng.uniform(-100, 100)
    spin, there, across = 0, np.array([0, 0.5, 1, 0.5]), np.array([-0.5, 0, 0.5, 0])
    if swings:
        if rng.random() < 0.3:
            spin = rng.choice([-1, 1])  # somersaults
        else:
            root[:, 0] += rng.uniform(20, 70) * there
    if turns:
        root[:, 2] += rng.uniform(30, 140) * across
    keys[:, :-3] = np.radians(keys[:, :-3])
    if rises:
        root[:, 5] = rng.uniform(0.08, 1.0) * np.array([0, 0.75, 1, 0.75])
    if travels:
        root[:, 3 + rng.integers(2)] = rng.uniform(0.2, 1.0) * across
    held = rng.choice(["feet", "floor", "hands", "air"], p=[0.45, 0.2, 0.2, 0.15])
    times = np.sort(np.append(0, (np.arange(1, 4) + rng.uniform(-0.25, 0.25, 3)) / 4))
    hz = np.exp(rng.uniform(np.log(0.35), np.log(1.6)))
    return Motion(keys, times, held, spin, hz, backwards)


def _rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    # (T, 3, 3), about x, y or z.
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    turn = np.tile(np.eye(3), (len(angle), 1, 1))
    turn[:, a, a] = turn[:, b, b] = np.cos(angle)
    turn[:, b, a] = np.sin(angle)
    turn[:, a, b] = -turn[:, b, a]
    return turn


def body_of(
    drawn: Motion, rng: np.random.Generator, phase: np.ndarray, proportions: dict[str, float]
) -> scene.Body:
    """Let one person do a motion, with a style of its own: joints, (T, 3), over `phase` (T,)."""
    n = len(figure.ANGLES)
    keys, times = drawn.keys.copy(), drawn.times
    poses = keys[:, :n] + rng.normal(0, np.radians(5), n)
    mean = poses.mean(axis=0)
    poses = mean + (poses - mean) * rng.uniform(0.75, 1.15)
    keys[:, :n] = poses + np.radians(4) * rng.standard_normal(poses.shape)
    keys[:, _COLUMN["lift"]] = 0
    keys[:, n : n + 3] += rng.normal(0, np.radians(6), 3) * [1, 1, 0]
    keys[:, n + 3 :] *= rng.uniform(0.7, 1.3)
    phase = -phase if drawn.backwards else phase
    around = np.concatenate([times - 1, times, times + 1])
    values = PchipInterpolator(around, np.tile(keys, (3, 1)))(phase % 1.0)
    pitch, roll, yaw = values[:, n : n + 3].T
    pitch = pitch + drawn.spin * 2 * np.pi * phase
    turn = _rotation(2, yaw) @ _rotation(1, pitch) @ _rotation(0, roll)
    body = figure.joints(values[:, :n], proportions)
    pelvis = body["pelvis"]
    body = {name: np.einsum("tij,tj->ti", turn, at - pelvis) for name, at in body.items()}
    lowest = np.min([at[:, 2] for at in body.values()], axis=0)[:, None] * [0, 0, 1]
    ankles, grips = (
        np.mean([body[f"{name}_left"], body[f"{name}_right"]], axis=0) for name in ("ankle", "grip")
    )
    fixed = {
        "feet": ankles * _FLOOR + lowest,
        "floor": lowest,
        "hands": grips - [0, 0, 1.3],
        "air": np.array([0, 0, -0.6]),
    }[drawn.held]
    return {name: at - fixed + values[:, n + 3 :] for name, at in body.items()}


def render(number: int, index: int) -> np.ndarray:
    """Film motion `number` with everything else drawn by `index`: `SHAPE` + (3,), uint8 RGB."""
    rng = np.random.default_rng([film.SEED, 1, index])
    uniform, n_frames = rng.uniform, SHAPE[0]
    drawn = motion(number)
    seconds = np.arange(n_frames) * np.exp(uniform(np.log(0.035), np.log(0.16)))
    phase = uniform() + seconds * drawn.hz * np.exp(rng.normal(0, 0.2))
    phase = phase + 0.06 * np.sin(uniform(0, 6.28) + np.arange(n_frames) * uniform(0.05, 0.3))
    body = body_of(drawn, rng, phase, film.draw_proportions(rng, 0.05))

    yaw, elevation = uniform(0, 2 * np.pi), np.radians(np.clip(rng.normal(10, 14), -20, 60))
    stature = film.HEIGHT * np.exp(uniform(np.log(0.42), np.log(1.25)))
    view = scene.View(yaw, elevation, stature, (0.0, 0.0))
    seen = view.project(np.stack(list(body.values()), axis=1))[0]  # (T, J, 2)
    path = seen.mean(axis=1)
    middle = (seen.min(axis=(0, 1)) + seen.max(axis=(0, 1))) / 2
    if rng.random() < 0.3:
        middle = np.median(path, axis=0)
    origin = (
        np.array([film.WIDTH, film.HEIGHT]) / 2
        - middle
        + rng.normal(0, 1, 2) * [12, 7]
        + scene.MARGIN
    )
    view = view._replace(origin=tuple(origin.tolist()))
    occluder = None
    if rng.random() < 0.1:
        column = view.origin[0] + stature * uniform(-0.4, 0.4)
        occluder = scene.occluder(rng, *film.CANVAS, column, uniform(6, 16))
    setting = film.Setting(
        person=film.draw_person(rng, _GIRTH),
        view=view,
        place=scene.place(rng, *film.CANVAS, uniform(0.05, 1.0)),
        occluder=occluder,
        gain=uniform(0.75, 1.25) * np.exp(rng.normal(0, 0.06, 3)),
        light=uniform(-1, 1),
        mirrored=bool(rng.random() < 0.5),
    )
    others = []
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 3)):
            others += _other(rng, seconds, setting)
    flicker = uniform(0, 0.03) * film.wander(rng, seconds, 1, (1, 6))[:, 0]
    take = film.Take(
        camera=_camera(rng, seconds, path),
        gain=1 + uniform(-0.1, 0.1) * np.linspace(-1, 1, n_frames) + flicker,
        grain=rng.integers(0, 64, (n_frames, 2)),
        backwards=False,  # a motion runs backwards, not its film
    )
    frames = film.shoot(setting, take, body, others, float(rng.integers(8)))

    small = np.empty((*SHAPE, 3), np.uint8)
    blur = uniform(0, 1.3) if rng.random() < 0.5 else 0
    quality = int(uniform(15, 80)) if rng.random() < 0.8 else 100
    for t, frame in enumerate(frames):
        if blur > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), blur)
        written = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        frame = cv2.imdecode(written, cv2.IMREAD_COLOR)
        small[t] = cv2.resize(frame, SHAPE[:0:-1], interpolation=cv2.INTER_AREA)
    return small


def _other(
    rng: np.random.Generator, seconds: np.ndarray, setting: film.Setting
) -> list[scene.Part]:
    # Somebody else, who does something else, in front or behind.
    phase = rng.uniform() + seconds * rng.uniform(0, 0.7)
    body = body_of(motion(int(rng.integers(MOTIONS))), rng, phase, film.draw_proportions(rng, 0.05))
    aside = [rng.choice([-1, 1]) * rng.uniform(0.25, 0.6) * film.WIDTH, rng.normal(0, 8)]
    view = setting.view._replace(
        yaw=rng.uniform(0, 6.28),
        px_per_stature=setting.view.px_per_stature * rng.uniform(0.5, 1),
        origin=tuple(np.add(setting.view.origin, aside).tolist()),
    )
    nearer = rng.uniform(-2, 0.6)
    parts = scene.person_parts(body, film.draw_person(rng, _GIRTH), view, setting.light)
    return [part._replace(nearness=part.nearness + nearer) for part in parts]


def _camera(rng: np.random.Generator, seconds: np.ndarray, path: np.ndarray) -> np.ndarray:
    # Held by a hand or nearly still; now and then it follows `path`, (T, 2) pixels.
    across, strength = np.linspace(-1, 1, len(seconds)), 1 if rng.random() < 0.6 else 0.1
    zoom = rng.uniform(-0.12, 0.12) * across + 0.02 * film.wander(rng, seconds, 1, (0.1, 0.5))[:, 0]
    roll = rng.normal(0, 4) + strength * 2 * film.wander(rng, seconds, 1, (0.1, 0.6))[:, 0]
    shift = rng.uniform(-8, 8, 2) * across[:, None]
    shift = shift + rng.uniform(0, 3) * film.wander(rng, seconds, 2, (0.1, 0.5))
    shift = strength * (shift + rng.uniform(0, 0.8) * film.wander(rng, seconds, 2, (0.5, 4)))
    if rng.random() < 0.3:
        moved = np.pad(path - path.mean(axis=0), ((4, 4), (0, 0)), mode="edge")
        smooth = [np.convolve(column, np.ones(9) / 9, "valid") for column in moved.T]
        shift = shift - rng.uniform(0.3, 1) * np.stack(smooth, axis=1)
    return film.move_camera(1 + strength * zoom, np.radians(roll), shift)
