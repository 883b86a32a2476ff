"""Films of a person in a place, for the sample data set and for pre-training."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from har.datasets.rendering import figure, scene

WIDTH = 160
HEIGHT = 120
CANVAS = (HEIGHT + 2 * scene.MARGIN, WIDTH + 2 * scene.MARGIN)
SEED = 27


@dataclass(frozen=True, eq=False)
class Setting:
    """One person, one place, one camera."""

    person: scene.Person
    view: scene.View
    place: np.ndarray  # (*CANVAS, 3) uint8, with furniture
    occluder: tuple[np.ndarray, np.ndarray] | None
    gain: np.ndarray  # (3,) RGB
    light: float  # side it comes from, -1 to 1
    mirrored: bool


@dataclass(frozen=True, eq=False)
class Take:
    """One film in a setting. All arrays run over the T frames of the forward motion."""

    camera: np.ndarray  # (T, 2, 3) canvas to frame
    gain: np.ndarray  # (T,)
    grain: np.ndarray  # (T, 2) corner of each frame's patch of noise
    backwards: bool


def draw_person(rng: np.random.Generator, girth: tuple[float, float]) -> scene.Person:
    """Draw what a person looks like; `girth` is the range of the limbs' thickness."""
    tone = rng.uniform(0, 1)
    skin = np.array([240, 200, 172]) * (1 - tone) + np.array([104, 68, 48]) * tone
    hairs = [(30, 24, 22), (72, 46, 30), (150, 104, 60), (196, 164, 104), (150, 148, 146)]
    return scene.Person(
        skin=tuple(skin.tolist()),
        hair=hairs[int(rng.integers(len(hairs)))],
        shirt=scene.colour(rng, (0.1, 0.9), (0.3, 1.0)),
        trousers=scene.colour(rng, (0.1, 0.6), (0.15, 0.65)),
        shoes=scene.colour(rng, (0.0, 0.6), (0.1, 0.95)),
        girth=rng.uniform(*girth),
        long_sleeves=bool(rng.random() < 0.5),
        long_trousers=bool(rng.random() < 0.75),
        long_hair=bool(rng.random() < 0.4),
    )


def draw_proportions(rng: np.random.Generator, deviation: float) -> dict[str, float]:
    """Draw the lengths of a body's segments."""
    stretch = np.clip(rng.normal(1, deviation, len(figure.PROPORTIONS)), 0.85, 1.15)
    lengths = stretch * list(figure.PROPORTIONS.values())
    return dict(zip(figure.PROPORTIONS, lengths.tolist(), strict=True))


def wander(
    rng: np.random.Generator, seconds: np.ndarray, columns: int, hz: tuple[float, float]
) -> np.ndarray:
    """Draw smooth noise, (T, columns), amplitude about 1; alike forwards and backwards in time."""
    waves = [
        np.sin(
            2 * np.pi * (rng.uniform(*hz, columns) * seconds[:, None] + rng.uniform(0, 1, columns))
        )
        for _ in range(3)
    ]
    return sum(waves) / np.sqrt(3)


def move_camera(zoom: np.ndarray, roll: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return maps from the canvas to frames, (T, 2, 3), for (T,), (T,) radians, (T, 2) pixels."""
    turn = np.stack([np.cos(roll), -np.sin(roll), np.sin(roll), np.cos(roll)], axis=1)
    linear = zoom[:, None, None] * turn.reshape(-1, 2, 2)
    centre = np.array([WIDTH, HEIGHT]) / 2
    offset = centre + shift - linear @ (centre + scene.MARGIN)
    return np.concatenate([linear, offset[:, :, None]], axis=2)


@lru_cache(maxsize=10)
def _grain(deviation: float) -> np.ndarray:
    # A sheet of sensor noise to cut patches from: one for all clips, as drawing it is slow.
    shape = (HEIGHT + 64, WIDTH + 64, 3)
    return np.rint(np.random.default_rng(SEED).normal(0, deviation, shape)).astype(np.int16)


def shoot(
    setting: Setting, take: Take, body: scene.Body, others: Sequence[scene.Part], noise: float
) -> np.ndarray:
    """Film a body, joints (T, 3), and `others` beside it: (T, H, W, 3) uint8 RGB.

    `noise` is the deviation of the sensor's noise in grey levels.
    """
    parts = scene.person_parts(body, setting.person, setting.view, setting.light)
    ready = scene.prepare([*parts, *others], take.camera)
    floor = body["pelvis"] * [1, 1, 0]
    feet = scene.carry(setting.view.project(floor)[0][:, None], take.camera)[:, 0]
    shadow = np.array([0.24, 0.06]) * setting.view.px_per_stature
    gains = take.gain[:, None] * setting.gain

    frames = np.empty((len(take.camera), HEIGHT, WIDTH, 3), np.uint8)
    for index, camera in enumerate(take.camera):
        frame = cv2.warpAffine(
            setting.place, camera, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT
        )
        scene.cast_shadow(frame, feet[index], shadow)
        scene.paint(frame, ready, index)
        if setting.occluder is not None:
            layer, opening = (cv2.warpAffine(o, camera, (WIDTH, HEIGHT)) for o in setting.occluder)
            frame = cv2.add(cv2.multiply(frame, opening, scale=1 / 255), layer)
        frame = cv2.multiply(frame, (*gains[index].tolist(), 0.0))
        y, x = take.grain[index]
        patch = _grain(noise)[y : y + HEIGHT, x : x + WIDTH]
        cv2.add(frame, patch, dst=frames[index], dtype=cv2.CV_8U)
    if setting.mirrored:
        frames = frames[:, :, ::-1]
    return np.ascontiguousarray(frames[::-1] if take.backwards else frames)
