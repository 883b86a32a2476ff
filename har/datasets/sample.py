"""The data set `sample`: rendered people, filed like UCF50, the same bytes every time.

The clips of one group share person, clothes, place and camera, so a random split leaks. Sitting
down and standing up, picking up and putting down are the same frames in opposite order, so a model
that ignores time cannot pass an accuracy of 4 in 6. All else that differs between clips
(`Nuisance`) has the same distribution in both classes of such a pair.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import joblib
import numpy as np
from tqdm import tqdm

from har.datasets.folder import chosen
from har.datasets.rendering import figure, film, scene
from har.errors import UserError
from har.params import DatasetParams

GROUPS = 30
CLIPS_PER_GROUP = 4
FPS = 25

# Class to motion, and whether the film runs backwards.
MOTIONS = {
    "JumpingJack": ("jumping_jack", False),
    "Squats": ("squats", False),
    "SitDown": ("sit_down", False),
    "StandUp": ("sit_down", True),
    "PickUp": ("pick_up", False),
    "PutDown": ("pick_up", True),
}
CLASSES = tuple(MOTIONS)

Range = tuple[float, float]


@dataclass(frozen=True)
class Nuisance:
    """How much groups and clips differ in what is not the action. Ranges are drawn uniformly."""

    # One draw a group.
    stature: Range = (0.79, 0.81)  # standing height in frame heights
    proportions: float = 0.02  # deviation of each segment's length, of its mean
    girth: Range = (0.95, 1.12)  # thickness of limbs, of the average
    cyclic_yaw: Range = (-12, 12)  # degrees from the front
    one_way_yaw: Range = (72, 88)  # degrees from the front
    elevation: Range = (4, 8)  # degrees of the camera above the person
    off_centre_px: float = 2  # at most, to either side
    contrast: Range = (0.04, 0.12)  # of the place, 0 = one colour, 1 = that of the people
    spare_chance: float = 0.05  # a seat beside who does not sit, a box beside who does not lift
    occluder_chance: float = 0.08
    occluder_px: Range = (8, 14)  # see scene.occluder
    light: Range = (0.9, 1.1)  # gain
    tint: float = 0.03  # deviation of each colour's gain
    cycle_hz: Range = (0.8, 1.2)  # cyclic motions
    duration_s: Range = (1.0, 1.4)  # one-way motions
    # One draw a clip.
    n_frames: tuple[int, int] = (40, 60)
    tempo: float = 0.1  # deviation of speed within a group
    sway_deg: float = 1.2  # amplitude in every joint
    framing_px: float = 1  # at most, to each side
    framing_zoom: float = 0.02  # at most, either way
    pan_px: float = 1.5  # over the clip, at most, either way
    zoom: float = 0.02  # over the clip, at most, either way
    shake_px: Range = (0.1, 0.6)  # amplitude
    roll_deg: float = 0.6  # amplitude
    light_drift: float = 0.06  # change of gain over the clip, at most, either way
    flicker: float = 0.03  # amplitude of gain
    noise: float = 4.0  # sensor noise, deviation in grey levels


NUISANCE = Nuisance()


@dataclass(frozen=True, eq=False)
class Group(film.Setting):
    """One source video: one person, one place, one camera, for one motion."""

    motion: str
    style: figure.Style
    proportions: dict[str, float]
    thing: scene.Thing | None  # what is lifted
    speed: float  # cycles, or whole motions, per second


@dataclass(frozen=True, eq=False)
class Clip(film.Take):
    """One film of a group."""

    progress: np.ndarray  # (T,) cycles, or share of the motion (below 0 before, above 1 after)
    sway: np.ndarray  # (T, A) radians, added to the joint angles


class Name(NamedTuple):
    """A clip's place in the data set; its seed and its path follow from it alone."""

    label: str
    group: int
    clip: int = 0

    def rng(self) -> np.random.Generator:
        """Return the generator of this clip's draws, or with clip 0 of its group's."""
        return np.random.default_rng(
            [film.SEED, zlib.crc32(self.label.encode()), self.group, self.clip]
        )

    def path(self) -> Path:
        """Return the path below the data set's root."""
        return Path(self.label, f"v_{self.label}_g{self.group:02}_c{self.clip:02}.avi")


def _furnish(
    rng: np.random.Generator, motion: str, path: scene.Body, view: scene.View
) -> tuple[list[scene.Part], scene.Thing | None]:
    # What the motion along `path` needs, and now and then what only others need.
    sits, lifts = motion == "sit_down", motion == "pick_up"
    spare_seat, spare_thing = rng.random(2) < NUISANCE.spare_chance
    # Spare pieces stand to the sides as the camera sees them, a little behind the person.
    side = 1 if sits or lifts else rng.choice([-1, 1])
    right = np.array([np.sin(view.yaw), np.cos(view.yaw), 0.0])
    behind = -0.2 * np.array([np.cos(view.yaw), -np.sin(view.yaw), 0.0])
    seat, rest = (behind + side * d * right for d in rng.uniform(0.5, 0.75, 2) * [-1, 1])
    seat[2] = rng.uniform(0.22, 0.28)
    size = rng.uniform((0.13, 0.19, 0.1), (0.2, 0.23, 0.17))
    rest[2] = size[2] / 2 + rng.uniform(0, 0.2)
    if sits:
        # A thigh's thickness below the hips, and the back of the knees before its front edge.
        seat = path["pelvis"][-1] + [0.05, 0.0, -0.05]
    if lifts:
        middle = len(path["pelvis"]) // 2
        rest = (path["grip_left"][middle] + path["grip_right"][middle]) / 2
        rest[2] = max(rest[2] - scene.GRIP_ABOVE * size[2], size[2] / 2)

    parts: list[scene.Part] = []
    kind = ("chair", "bench", "sofa")[int(rng.integers(3))]
    fill = scene.colour(rng, (0.1, 0.7), (0.25, 0.85))
    if sits or spare_seat:
        parts += scene.furniture(kind, tuple(seat.tolist()), fill, view)
    thing = scene.Thing(size, scene.colour(rng, (0.3, 0.95), (0.4, 1.0)), rest)
    fill = scene.colour(rng, (0.05, 0.5), (0.3, 0.8))
    if lifts or spare_thing:
        below = rest[2] - size[2] / 2
        if below > 0.02:
            stand = rest * [1, 1, 0] + [0.02, 0, below / 2]
            parts += scene.box_parts(stand[None], (0.24, 0.32, below), fill, view)
        if not lifts:
            parts += scene.box_parts(rest[None], size, thing.colour, view)
    return parts, thing if lifts else None


def draw_group(
    rng: np.random.Generator, motion: str, other_place: np.random.Generator | None = None
) -> Group:
    """Draw what the clips of a group share, for a motion of `figure.MOTIONS`.

    `other_place` draws another place behind person and furniture, which stay.
    """
    style = figure.Style(*rng.uniform(-1, 1, len(figure.Style._fields)))
    proportions = film.draw_proportions(rng, NUISANCE.proportions)
    person = film.draw_person(rng, NUISANCE.girth)

    # The whole motion is centred in the frame, feet near its lower edge.
    path = figure.joints(figure.trajectory(motion, np.linspace(0, 1, 9), style), proportions)
    yaw = rng.uniform(*(NUISANCE.cyclic_yaw if motion in figure.CYCLIC else NUISANCE.one_way_yaw))
    elevation = np.radians(rng.uniform(*NUISANCE.elevation))
    stature_px = film.HEIGHT * rng.uniform(*NUISANCE.stature)
    view = scene.View(float(np.radians(yaw)), float(elevation), stature_px, (0.0, 0.0))
    sides = view.project(np.concatenate(list(path.values())))[0][:, 0]
    column = film.WIDTH / 2 - (sides.min() + sides.max()) / 2
    column += rng.uniform(-1, 1) * NUISANCE.off_centre_px
    row = film.HEIGHT * 0.5 + stature_px * 0.5 - rng.uniform(0, 4)
    view = view._replace(origin=(column + scene.MARGIN, row + scene.MARGIN))

    place = scene.place(rng, *film.CANVAS, rng.uniform(*NUISANCE.contrast))
    if other_place:
        place = scene.place(other_place, *film.CANVAS, other_place.uniform(*NUISANCE.contrast))
    furniture, thing = _furnish(rng, motion, path, view)
    if furniture:
        scene.paint(place, scene.prepare(furniture, np.eye(2, 3)[None]), 0)
    occluder = None
    if rng.random() < NUISANCE.occluder_chance:
        middle = view.origin[0] + stature_px * rng.uniform(-0.4, 0.4)
        occluder = scene.occluder(rng, *film.CANVAS, middle, rng.uniform(*NUISANCE.occluder_px))
    cyclic = motion in figure.CYCLIC
    speed = rng.uniform(*NUISANCE.cycle_hz) if cyclic else 1 / rng.uniform(*NUISANCE.duration_s)
    return Group(
        motion=motion,
        style=style,
        proportions=proportions,
        person=person,
        view=view,
        place=place,
        occluder=occluder,
        thing=thing,
        gain=rng.uniform(*NUISANCE.light) * np.exp(rng.normal(0, NUISANCE.tint, 3)),
        light=rng.uniform(-1, 1),
        mirrored=bool(rng.random() < 0.5),
        speed=speed,
    )


def draw_clip(rng: np.random.Generator, group: Group, backwards: bool = False) -> Clip:
    """Draw one film of a group; no draw depends on whether it runs backwards."""
    low, high = NUISANCE.n_frames
    count = int(rng.integers(low, high + 1))
    frames = np.arange(count)
    speed = group.speed * np.exp(rng.normal(0, NUISANCE.tempo))
    if group.motion in figure.CYCLIC:
        progress = frames * speed / FPS + rng.uniform(0, 1)
    else:
        n_moving = min(FPS / speed, count - 4)
        progress = (frames - rng.uniform(2, count - 2 - n_moving)) / n_moving

    across, seconds = np.linspace(-1, 1, count), frames / FPS
    zoom = 1 + rng.uniform(-1, 1) * NUISANCE.framing_zoom
    zoom = zoom * (1 + 0.5 * NUISANCE.zoom * rng.uniform(-1, 1) * across)
    roll = np.radians(NUISANCE.roll_deg) * film.wander(rng, seconds, 1, (0.2, 0.8))[:, 0]
    shift = rng.uniform(-1, 1, 2) * NUISANCE.framing_px
    shift = shift + 0.5 * NUISANCE.pan_px * rng.uniform(-1, 1, 2) * across[:, None]
    shift = shift + rng.uniform(*NUISANCE.shake_px) * film.wander(rng, seconds, 2, (0.5, 4.0))
    drift = NUISANCE.light_drift * rng.uniform(-1, 1) * across / 2
    sway = np.radians(NUISANCE.sway_deg) * film.wander(rng, seconds, len(figure.ANGLES), (0.2, 1.0))
    sway[:, figure.ANGLES.index("lift")] = 0.0
    return Clip(
        progress=progress,
        sway=sway,
        camera=film.move_camera(zoom, roll, shift),
        gain=1 + drift + NUISANCE.flicker * film.wander(rng, seconds, 1, (1.0, 6.0))[:, 0],
        grain=rng.integers(0, 64, (count, 2)),
        backwards=backwards,
    )


def render_clip(group: Group, clip: Clip) -> np.ndarray:
    """Film one clip: (T, H, W, 3) uint8 RGB."""
    angles = figure.trajectory(group.motion, clip.progress, group.style) + clip.sway
    body = figure.joints(angles, group.proportions)
    lifted = group.thing.parts(body, clip.progress > 0.5, group.view) if group.thing else []
    return film.shoot(group, clip, body, lifted, NUISANCE.noise)


def _write(path: Path, frames: np.ndarray) -> None:
    partial = path.with_name(f".{path.stem}.part.avi")
    codec = cv2.VideoWriter.fourcc(*"XVID")
    writer = cv2.VideoWriter(str(partial), cv2.CAP_FFMPEG, codec, FPS, (film.WIDTH, film.HEIGHT))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    if not _is_whole(partial, len(frames)):
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{path} could not be written whole: the disk may be full or read-only. Free some "
            "space and run again: it goes on where it stopped."
        )
    partial.replace(path)


def _is_whole(path: Path, count: int) -> bool:
    # OpenCV's writer reports no error, as of a full disk.
    data = path.read_bytes() if path.exists() else b""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    n_frames = sum(1 for _ in iter(capture.grab, False))
    capture.release()
    # A cut last frame decodes too; the header holds the size that the file should have.
    return n_frames == count and len(data) == int.from_bytes(data[4:8], "little") + 8


def _render_group(destination: Path, names: list[Name]) -> int:
    cv2.setNumThreads(1)  # there is a process per core
    motion, backwards = MOTIONS[names[0].label]
    group = draw_group(names[0]._replace(clip=0).rng(), motion)
    for name in names:
        clip = draw_clip(name.rng(), group, backwards)
        _write(destination / name.path(), render_clip(group, clip))
    return len(names)


def fetch(params: DatasetParams, destination: Path) -> None:
    """Render the classes asked for, all where none is named, into `destination`."""
    render(destination, params.classes or CLASSES)


def render(
    destination: Path,
    classes: Sequence[str] = CLASSES,
    *,
    groups: int = GROUPS,
    clips_per_group: int = CLIPS_PER_GROUP,
    n_jobs: int = -1,
) -> None:
    """Render the data set below `destination` as Class/v_Class_gNN_cNN.avi.

    The bytes of a clip depend on its name alone. A killed run goes on where it stopped. `groups`
    (per class) and `clips_per_group` are from 1 to 99.
    """
    chosen(classes, CLASSES, "the sample data set")
    batches = []
    for label in dict.fromkeys(classes):
        folder = Path(destination, label)
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob(".*.part.avi"):
            partial.unlink()
        for group in range(1, groups + 1):
            names = [Name(label, group, clip) for clip in range(1, clips_per_group + 1)]
            if missing := [name for name in names if not (destination / name.path()).exists()]:
                batches.append(missing)
    work = (joblib.delayed(_render_group)(destination, names) for names in batches)
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    with tqdm(total=sum(map(len, batches)), desc="Rendering", unit="clip", disable=None) as bar:
        for n_rendered in parallel(work):
            bar.update(n_rendered)
