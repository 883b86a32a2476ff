"""The world of the `sample` data set: places, the camera, people and things as filled outlines.

Points of the world are in statures, of a picture in pixels. Pictures are (H, W, 3) uint8 RGB. A
place is painted once, on a canvas wider than the frame by `MARGIN`, so that the camera can move.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np

MARGIN = 28
SHIFT = 4  # OpenCV draws with this many fractional bits, so that slow motion does not step
GRIP_ABOVE = 0.2  # hands hold a thing this far above its middle, in its heights
Colour = tuple[float, float, float]
Body = dict[str, np.ndarray]


class View(NamedTuple):
    """Where the camera stands, with parallel projection."""

    yaw: float  # radians from the front
    elevation: float  # radians from above
    px_per_stature: float
    origin: tuple[float, float]  # canvas pixel (x, y) of the floor between the feet

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map world points (..., 3) to canvas pixels (..., 2) and nearness (...), in statures."""
        x, y, z = np.moveaxis(points, -1, 0)
        right = x * np.sin(self.yaw) + y * np.cos(self.yaw)
        towards = x * np.cos(self.yaw) - y * np.sin(self.yaw)
        up = z * np.cos(self.elevation) - towards * np.sin(self.elevation)
        picture = np.stack([right, -up], axis=-1) * self.px_per_stature + self.origin
        return picture, towards * np.cos(self.elevation) + z * np.sin(self.elevation)


class Person(NamedTuple):
    """What a person looks like; colours are RGB, 0 to 255; `girth` 1 is the average."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    girth: float
    long_sleeves: bool
    long_trousers: bool
    long_hair: bool


class Part(NamedTuple):
    """One filled outline over time: (T, P, 2) canvas px, (T, 3) RGB, (T,) nearness."""

    outline: np.ndarray
    colour: np.ndarray
    nearness: np.ndarray


def _capsule(a: np.ndarray, b: np.ndarray, radius_a: float, radius_b: float) -> np.ndarray:
    # Outline (T, P, 2) of two discs around a and b (T, 2) and what lies between them.
    axis = b - a
    angle = np.arctan2(axis[:, 1], axis[:, 0])[:, None]
    bow = np.linspace(np.pi / 2, 3 * np.pi / 2, 7)
    arcs = [
        centre[:, None] + radius * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        for centre, radius, turn in [(a, radius_a, angle + bow), (b, radius_b, angle + bow + np.pi)]
    ]
    return np.concatenate(arcs, axis=1)


def _hull(points: np.ndarray) -> np.ndarray:
    # Convex hulls of (T, P, 2) points, padded by their last point to one length.
    hulls = [cv2.convexHull(frame.astype(np.float32))[:, 0] for frame in points]
    longest = max(map(len, hulls))
    return np.stack([np.pad(h, ((0, longest - len(h)), (0, 0)), mode="edge") for h in hulls])


def person_parts(body: Body, person: Person, view: View, light: float) -> list[Part]:
    """Dress a skeleton, (T, 3) by joint name; `light` comes from -1 (left) to 1 (right)."""
    projected = {name: view.project(position) for name, position in body.items()}
    flat = {name: picture for name, (picture, _) in projected.items()}
    near = {name: nearness for name, (_, nearness) in projected.items()}
    unit = view.px_per_stature * person.girth
    parts: list[Part] = []

    def solid(outline: np.ndarray, colour: Colour, nearness: np.ndarray) -> None:
        # A dark rim around a lit middle reads as round; limbs on the far side get less light,
        # which keeps left and right apart for the eye.
        lit = np.clip(1.0 + 1.5 * (nearness - near["pelvis"]), 0.68, 1.05)[:, None]
        centre = outline.mean(axis=1, keepdims=True)
        reach = np.linalg.norm(outline - centre, axis=2, keepdims=True)
        inner = np.maximum(1.0 - 1.1 / np.maximum(reach, 1e-6), 0.55)
        middle = centre + (outline - centre) * inner + [0.5 * light, -0.3]
        base = np.asarray(colour) * lit
        parts.append(Part(outline, base * 0.64, nearness))
        parts.append(Part(middle, base, nearness + 1e-4))

    def limb(a: str, b: str, radii: tuple[float, float], colour: Colour, bias: float = 0) -> None:
        outline = _capsule(flat[a], flat[b], radii[0] * unit, radii[1] * unit)
        solid(outline, colour, (near[a] + near[b]) / 2 + bias)

    sleeve = person.shirt if person.long_sleeves else person.skin
    leg = person.trousers if person.long_trousers else person.skin
    for side in ("left", "right"):
        limb(f"ankle_{side}", f"toes_{side}", (0.027, 0.021), person.shoes)
        limb(f"knee_{side}", f"ankle_{side}", (0.037, 0.025), leg)
        # The shirt hangs over the trousers, unless the thigh points at the camera.
        limb(f"hip_{side}", f"knee_{side}", (0.053, 0.039), person.trousers, -0.05)
        limb(f"wrist_{side}", f"fingers_{side}", (0.02, 0.017), person.skin, 0.03)
        limb(f"elbow_{side}", f"wrist_{side}", (0.028, 0.022), sleeve, 0.028)
        limb(f"shoulder_{side}", f"elbow_{side}", (0.036, 0.029), person.shirt, 0.024)

    # The chest is deep even where a view from the side puts both shoulders on one point.
    chest = 0.4 * flat["pelvis"] + 0.6 * flat["chest"]
    discs = [(flat[f"shoulder_{side}"], 0.034) for side in ("left", "right")]
    discs += [(flat[f"hip_{side}"], 0.056) for side in ("left", "right")] + [(chest, 0.07)]
    rings = [_capsule(centre, centre, radius * unit, radius * unit) for centre, radius in discs]
    torso = _hull(np.concatenate(rings, axis=1))
    solid(torso, person.shirt, (near["chest"] + near["pelvis"]) / 2)

    unit = view.px_per_stature
    up = body["crown"] - body["chin"]
    ahead = np.stack([up[:, 2], up[:, 1], -up[:, 0]], axis=1)
    forward = view.project(body["chin"] + ahead)[0] - flat["chin"]
    rise = flat["crown"] - flat["chin"]
    jaw, brow = flat["chin"] + 0.32 * rise, flat["chin"] + 0.6 * rise
    nape = jaw - (0.3 if person.long_hair else 0.0) * rise - 0.14 * forward
    neck = _capsule(flat["chest"], flat["chin"], 0.03 * unit, 0.028 * unit)
    hair = _capsule(nape, brow + 0.08 * rise - 0.08 * forward, 0.043 * unit, 0.056 * unit)
    face = _capsule(
        jaw + 0.08 * forward, brow - 0.06 * rise + 0.12 * forward, 0.04 * unit, 0.046 * unit
    )
    solid(neck, person.skin, near["chest"] + 0.002)
    solid(hair, person.hair, near["chin"] + 0.012)
    solid(face, person.skin, near["chin"] + 0.014)
    return parts


def box_parts(centre: np.ndarray, size: Sequence[float], colour: Colour, view: View) -> list[Part]:
    """The three visible faces of a box along the body's axes: centre (T, 3), size in statures."""
    visible = (np.sign(np.cos(view.yaw)), -np.sign(np.sin(view.yaw)), 1.0)
    parts = []
    for axis, share in enumerate((0.62, 0.84, 1.1)):
        corners = np.full((4, 3), visible[axis] / 2)
        others = [other for other in range(3) if other != axis]
        corners[:, others] = [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]
        outline, nearness = view.project(centre[:, None] + corners * np.asarray(size))
        shade = np.tile(np.asarray(colour) * share, (len(centre), 1))
        parts.append(Part(outline, shade, nearness.mean(axis=1)))
    return parts


class Thing(NamedTuple):
    """A box to lift: lengths along x, y, z and (3,) where it lies in statures; RGB."""

    size: Sequence[float]
    colour: Colour
    rest: np.ndarray

    def parts(self, body: Body, held: np.ndarray, view: View) -> list[Part]:
        """Its faces: between the hands of `body` where `held`, (T,) bool, else where it lies."""
        hands = (body["grip_left"] + body["grip_right"]) / 2
        hands = hands - [0.0, 0.0, GRIP_ABOVE * self.size[2]]
        return box_parts(np.where(held[:, None], hands, self.rest), self.size, self.colour, view)


def carry(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Carry canvas points (T, P, 2) into the frames of a camera, (T, 2, 3) affine maps."""
    return np.einsum("tij,tpj->tpi", camera[:, :, :2], points) + camera[:, None, :, 2]


class Ready(NamedTuple):
    """Parts prepared for painting: fixed-point outlines, colours, and the order in each frame."""

    outlines: list[np.ndarray]
    colours: np.ndarray
    order: np.ndarray


def prepare(parts: list[Part], camera: np.ndarray) -> Ready:
    """Carry parts into the frames of a camera, (T, 2, 3) affine maps, and sort them by nearness."""
    outlines = [carry(part.outline, camera) for part in parts]
    fixed = [np.rint(outline * (1 << SHIFT)).astype(np.int32) for outline in outlines]
    colours = np.clip([part.colour for part in parts], 0, 255)
    order = np.argsort([part.nearness for part in parts], axis=0, kind="stable")
    return Ready(fixed, colours, order)


def paint(picture: np.ndarray, ready: Ready, frame: int) -> None:
    """Paint the parts of one frame into `picture`, in place."""
    for part in ready.order[:, frame]:
        colour = ready.colours[part, frame].tolist()
        cv2.fillConvexPoly(picture, ready.outlines[part][frame], colour, cv2.LINE_AA, SHIFT)


def cast_shadow(picture: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> None:
    """Darken a soft ellipse on the floor, in place; centre and radii (x, y) in pixels."""
    height, width = picture.shape[:2]
    left, top = np.maximum(np.floor(centre - radii), 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + radii) + 1, [width, height]).astype(int)
    if left >= right or top >= bottom:
        return
    x = (np.arange(left, right) - centre[0]) / radii[0]
    y = (np.arange(top, bottom) - centre[1]) / radii[1]
    depth = 0.5 * np.clip(1.0 - x[None] ** 2 - y[:, None] ** 2, 0, 1)
    patch = picture[top:bottom, left:right]
    patch[:] = patch * (1.0 - depth[..., None])


def furniture(
    kind: str, seat: tuple[float, float, float], colour: Colour, view: View
) -> list[Part]:
    """A `chair`, `bench` or `sofa` whose seat's upper face is centred on `seat`, in statures."""
    x, y, z = seat
    boxes: list[tuple[tuple[float, float, float], tuple[float, float, float]]]
    deep = {"chair": 0.25, "bench": 0.24, "sofa": 0.3}[kind]
    wide = {"chair": 0.27, "bench": 0.7, "sofa": 0.62}[kind]
    if kind == "sofa":
        boxes = [((x, y, z / 2), (deep, wide, z))]
        boxes += [((x - deep * 0.55, y, z * 0.9), (0.1, wide, z * 1.8))]
    else:
        boxes = [((x, y, z - 0.015), (deep, wide, 0.03))]
        leg = (0.025, 0.025, z - 0.03)
        for dx, dy in product((-0.45 * deep, 0.45 * deep), (-0.45 * wide, 0.45 * wide)):
            boxes.append(((x + dx, y + dy, leg[2] / 2), leg))
    if kind == "chair":
        boxes.append(((x - deep * 0.47, y, z + 0.15), (0.025, wide, 0.24)))
    return [
        part for centre, size in boxes for part in box_parts(np.array([centre]), size, colour, view)
    ]


def texture(rng: np.random.Generator, height: int, width: int, cells: Sequence[int]) -> np.ndarray:
    """Noise of `cells` of several sizes in pixels, (height, width) float32, mean 0, deviation 1."""
    total = np.zeros((height, width), np.float32)
    for cell in cells:
        grid = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * cell**0.5
    return (total - total.mean()) / total.std()


def colour(
    rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> Colour:
    """Draw an RGB colour, 0 to 255, of any hue; saturation and value from ranges within 0 to 1."""
    hue = rng.uniform(0, 6)
    s, v = rng.uniform(*saturation), 255 * rng.uniform(*value)
    wheel = np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    return tuple((v * (1 - s + s * np.clip(wheel, 0, 1))).tolist())


def _rectangle(
    canvas: np.ndarray, left: float, top: float, right: float, bottom: float, fill: Colour
) -> None:
    cv2.rectangle(canvas, (int(left), int(top)), (int(right), int(bottom)), fill, -1, cv2.LINE_AA)


def _bush(rng: np.random.Generator, canvas: np.ndarray, x: float, y: float, size: float) -> None:
    green = np.array([rng.uniform(40, 100), rng.uniform(80, 140), rng.uniform(30, 70)])
    for step in np.linspace(0.6, 1.15, 14):
        at = np.array([x, y]) + rng.normal(0, 0.42, 2) * size * [1.0, 0.8]
        radius = int(max(2, size * rng.uniform(0.25, 0.5)))
        cv2.circle(canvas, tuple(at.astype(int).tolist()), radius, (green * step).tolist(), -1, 16)


def _indoors(rng: np.random.Generator, canvas: np.ndarray, horizon: int) -> None:
    height, width = canvas.shape[:2]
    wall, floor = colour(rng, (0.03, 0.32), (0.4, 0.9)), colour(rng, (0.1, 0.5), (0.25, 0.7))
    canvas[:horizon], canvas[horizon:] = wall, floor
    if rng.random() < 0.4:
        stripe = int(rng.integers(8, 22))
        for x in range(0, width, 2 * stripe):
            _rectangle(canvas, x, 0, x + stripe, horizon - 1, tuple(0.9 * c for c in wall))
    for _ in range(int(rng.integers(2, 6))):
        w, h = rng.uniform(14, 46), rng.uniform(14, 50)
        x, y = rng.uniform(-10, width - 10), rng.uniform(0, max(1.0, horizon - h))
        if rng.random() < 0.4:
            y = horizon - h  # stands on the floor: a door, a shelf, a cupboard
        frame, inside = colour(rng, (0, 0.5), (0.2, 0.9)), colour(rng, (0, 0.6), (0.2, 1.0))
        _rectangle(canvas, x, y, x + w, y + h, frame)
        _rectangle(canvas, x + 2, y + 2, x + w - 2, y + h - 2, inside)
        for row in np.arange(y + rng.uniform(6, 14), y + h - 3, rng.uniform(8, 16)):
            _rectangle(canvas, x, row, x + w, row + 1, frame)
    _rectangle(canvas, 0, horizon - 3, width, horizon, tuple(0.6 * c for c in wall))
    vanishing = np.array([width * rng.uniform(0.3, 0.7), horizon - 60])
    for x in np.arange(-width, 2 * width, rng.uniform(16, 40)):
        end = vanishing + (np.array([x, height]) - vanishing) * 1.1
        line = [tuple(p.astype(int).tolist()) for p in (vanishing, end)]
        _, a, b = cv2.clipLine((0, horizon + 1, width, height), *line)
        cv2.line(canvas, a, b, tuple(0.85 * c for c in floor), 1, cv2.LINE_AA)


def _outdoors(rng: np.random.Generator, canvas: np.ndarray, horizon: int) -> None:
    width = canvas.shape[1]
    skies = [(110, 160, 225), (165, 190, 220), (190, 192, 196), (225, 190, 160)]
    sky = np.array(skies[int(rng.integers(4))]) * rng.uniform(0.7, 1.1)
    haze = np.linspace(0, 1, horizon)[:, None, None]
    canvas[:horizon] = np.clip(sky * (1 - haze) + np.array([235, 230, 220]) * haze, 0, 255)
    ground = [(96, 128, 66), (140, 124, 92), (128, 128, 126), (84, 110, 74)][int(rng.integers(4))]
    canvas[horizon:] = np.clip(np.array(ground) * rng.uniform(0.75, 1.25), 0, 255)
    for _ in range(int(rng.integers(0, 4))):
        w, h, x = rng.uniform(24, 60), rng.uniform(20, 70), rng.uniform(-20, width)
        house, pane = colour(rng, (0.05, 0.4), (0.35, 0.85)), colour(rng, (0.1, 0.4), (0.2, 0.5))
        _rectangle(canvas, x, horizon - h, x + w, horizon, house)
        for row in np.arange(horizon - h + 5, horizon - 8, 12):
            for column in np.arange(x + 4, x + w - 6, 10):
                _rectangle(canvas, column, row, column + 4, row + 6, pane)
    for _ in range(int(rng.integers(1, 6))):
        x, size = rng.uniform(0, width), rng.uniform(10, 24)
        if rng.random() < 0.6:
            _rectangle(canvas, x - 2, horizon - 2.4 * size, x + 2, horizon + 3, (84, 64, 46))
            _bush(rng, canvas, x, horizon - 2.4 * size, size * 1.2)
        else:
            _bush(rng, canvas, x, horizon - size * 0.2, size)


def place(rng: np.random.Generator, height: int, width: int, contrast: float) -> np.ndarray:
    """Paint an empty place on a canvas; `contrast` is what is left of its own, 0 to 1."""
    canvas = np.zeros((height, width, 3), np.uint8)
    horizon = int(height * rng.uniform(0.56, 0.7))
    (_indoors if rng.random() < 0.5 else _outdoors)(rng, canvas, horizon)
    rough = np.where(np.arange(height) < horizon, rng.uniform(3, 8), rng.uniform(6, 14))
    grain = texture(rng, height, width, (2, 5, 14)) * rough[:, None]
    light = texture(rng, height, width, (60, 110)) * 10
    picture = canvas + (grain + light)[..., None]
    average = picture.mean(axis=(0, 1))
    picture = average + (picture - average) * contrast
    return np.clip(picture, 0, 255).astype(np.uint8)


def occluder(
    rng: np.random.Generator, height: int, width: int, x: float, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a pole, a bush or the edge of a table between the camera and the person.

    `x` is the column of its middle; `size` its height (table), about half that of a bush, twice the
    width of a pole, in pixels.

    Returns:
        The layer, (height, width, 3) uint8, black where it is transparent, and what it lets
        through, (height, width, 3) uint8: 255 all, 0 nothing.
    """
    layer, opaque = np.zeros((2, height, width, 3), np.uint8)
    bottom, kind = height - MARGIN, rng.integers(3)
    fill = colour(rng, (0.05, 0.5), (0.2, 0.75))
    if kind == 0:
        for share, step in ((1.0, 0.7), (0.6, 0.9), (0.25, 1.05)):
            half = share * size / 4
            _rectangle(layer, x - half, 0, x + half, height, tuple(step * c for c in fill))
        _rectangle(opaque, x - size / 4, 0, x + size / 4, height, (255, 255, 255))
    elif kind == 1:
        _bush(rng, layer, x, bottom, size * 1.3)
        opaque[layer.any(axis=2)] = 255
    else:
        _rectangle(layer, 0, bottom - size, width, height, tuple(0.7 * c for c in fill))
        _rectangle(layer, 0, bottom - size, width, bottom - size + 3, fill)
        _rectangle(opaque, 0, bottom - size, width, height, (255, 255, 255))
    grain = texture(rng, height, width, (2, 6))[..., None] * 7
    textured = np.clip(layer + grain, 0, 255)
    opaque = cv2.GaussianBlur(opaque, (3, 3), 0)
    return (textured * (opaque / 255.0)).astype(np.uint8), 255 - opaque
