"""What a network leans on: its accuracy on test clips that lack one thing.

`still` repeats the middle frame: no motion. `shuffled` has the frames in random order. `backwards`
has them in opposite order. `elsewhere` has other surroundings. A network that needs only the place
or one frame scores as high there as on the clips `as_is` (Choi et al., Why Can't I Dance in the
Mall?, NeurIPS 2019; Li et al., Mitigating and Evaluating Static Bias, ICCV 2023).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np

from har.clips import video
from har.clips.store import FrameStore
from har.datasets import sample
from har.evaluation import metrics
from har.evaluation.predictions import Predictions

VARIANTS = ("as_is", "still", "shuffled", "backwards", "elsewhere")
COLUMNS = ("clip", "group", "actual", *VARIANTS)  # of shortcuts.csv: classes that were found
# Pairs of the sample's classes that are the same frames in opposite order.
REVERSED = (("SitDown", "StandUp"), ("PickUp", "PutDown"))
TITLE = "What each network leans on: accuracy on clips that lack one thing"
PART = 32  # clips in memory at a time, in five variants
MOVES = 20  # grey levels from a pixel's median over time; less is noise of the camera


def test(
    predict: Callable[[np.ndarray], tuple[np.ndarray, ...]],
    tested: Predictions,
    store: FrameStore,
    dataset: str,
    seed: int,
) -> list[tuple[str, ...]]:
    """Return rows as `COLUMNS` of tested clips.

    `predict` maps frames to probabilities (N, C), and perhaps more, as `batches.predict`. Clips of
    the data set `sample` are rendered again for `elsewhere`, which is exact.
    """
    rng = np.random.default_rng(seed)
    clips, names = np.array(tested.clips), np.array(tested.classes)
    rows: list[tuple[str, ...]] = []
    for start in range(0, len(clips), PART):
        own = slice(start, start + PART)
        frames, labels = store.read(clips[own])
        if dataset == "sample":
            elsewhere = rendered_elsewhere(tuple(clips[own].tolist()), store.shape)
        else:
            others = (np.flatnonzero(tested.labels != label) for label in labels)
            places = [rng.choice(found) if len(found) else start for found in others]
            elsewhere = in_place_of(frames, store.read(clips[places])[0])
        T = frames.shape[1]
        order = np.argsort(rng.random(frames.shape[:2]), axis=1)
        shuffled = np.take_along_axis(frames, order[:, :, None, None, None], axis=1)
        still = np.repeat(frames[:, T // 2, None], T, axis=1)
        shown = (still, shuffled, frames[:, ::-1], elsewhere)
        found = (tested.probabilities[own], *(predict(each)[0] for each in shown))
        answers = (names[shares.argmax(axis=1)].tolist() for shares in found)
        facts = clips[own].tolist(), tested.groups[own], names[labels].tolist()
        rows += zip(*facts, *answers, strict=True)
    return rows


@functools.lru_cache(maxsize=8)  # the same for every network
def rendered_elsewhere(clips: tuple[str, ...], shape: tuple[int, int, int]) -> np.ndarray:
    """Render clips of the sample again, each group in another place.

    Returns frames as extraction picks and shrinks them, uint8 (N, T, H, W, 3) RGB.
    """
    parallel = joblib.Parallel(n_jobs=-1)
    return np.stack(parallel(joblib.delayed(_elsewhere)(clip, *shape) for clip in clips))


def _elsewhere(clip: str, T: int, H: int, W: int) -> np.ndarray:
    cv2.setNumThreads(1)  # there is a process per core
    label, *numbers = Path(clip).stem.removeprefix("v_").split("_")
    name = sample.Name(label, *(int(number[1:]) for number in numbers))
    motion, backwards = sample.MOTIONS[label]
    there = name._replace(clip=1000).rng()  # a number that no clip has
    group = sample.draw_group(name._replace(clip=0).rng(), motion, there)
    film = sample.render_clip(group, sample.draw_clip(name.rng(), group, backwards))
    frames = np.empty((T, H, W, 3), np.uint8)
    for t, index in enumerate(video.even_indices(len(film), T)):
        video.shrink(film[index], H, W, frames[t])
    return frames


def in_place_of(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Put what moves in each clip, uint8 (N, T, H, W, 3), into the place of another clip.

    A clip's place is the median of its frames, and what differs from it by more than `MOVES` moves.
    Where the camera moves, parts of the place move too and stay: the test is milder there.
    """
    result = frames.copy()
    for clip, other in zip(result, others, strict=True):
        place, new = (np.median(each, axis=0).astype(np.uint8) for each in (clip, other))
        for frame in clip:
            moves = (cv2.absdiff(frame, place).max(axis=2) > MOVES).astype(np.uint8)
            moves = cv2.dilate(cv2.morphologyEx(moves, cv2.MORPH_OPEN, np.ones((2, 2))), None)
            frame[moves == 0] = new[moves == 0]
    return result


def shares(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the accuracies of a network's `shortcuts`, to draw."""
    return {name: found["accuracy"] for name, found in row["shortcuts"].items()}


def figures(rows: Sequence[Sequence[str]], **draws: int) -> dict[str, dict[str, float]]:
    """Return by variant `accuracy`, `accuracy_low` and `accuracy_high` of rows as `COLUMNS`.

    Where the data set has actions that are others backwards, `reversed` is of their clips played
    backwards: right is still the action as it was filmed, which a network that sees time denies.
    """
    columns = dict(zip(COLUMNS, np.array(rows).T, strict=True))
    right = {name: columns[name] == columns["actual"] for name in VARIANTS}
    chosen = {name: np.full(len(rows), True) for name in VARIANTS}
    pairs = [pair for pair in REVERSED if set(pair) <= set(columns["actual"])]
    if pairs:
        right["reversed"] = right["backwards"]
        chosen["reversed"] = np.isin(columns["actual"], pairs)
    found = {}
    for name, hits in right.items():
        hits, groups = hits[chosen[name]], columns["group"][chosen[name]]
        low, high = metrics.accuracy_interval(hits, groups, **draws)
        found[name] = {"accuracy": float(hits.mean()), "accuracy_low": low, "accuracy_high": high}
    return found
