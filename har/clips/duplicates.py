"""Clips of different groups with equal bytes or frames that look alike: they leak in a split.

The difference hash (N. Krawetz, "Kind of Like That", 2013): a frame in grey is averaged to 9 × 9,
and each bit says whether a pixel is brighter than its neighbour to the left, or above. Scale,
brightness and compression leave most bits as they are.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from har.clips.store import Clip, FrameStore, source_of
from har.errors import UserError

FRAMES = 5
BITS = FRAMES * 128
# Bits that near-duplicates may differ in, 18 %. On 370 clips of UCF101, six of 67,836 pairs across
# groups differ in at most 17 %, all of one scene; the next differ in 22 % and are different videos.
# Copies that were encoded again, halved or brightened differ in at most 7 %.
LIMIT = 115


class Pair(NamedTuple):
    """Two clips of different groups that show the same."""

    first: str
    second: str
    difference: float | None  # share of the hash's bits, 0 to 1; None: the files are equal


def identical(clips: Sequence[Clip]) -> list[list[str]]:
    """Return the paths of clips with equal bytes, one list for each such content."""
    by_content = defaultdict(list)
    for clip in clips:
        by_content[clip.sha256].append(clip.clip)
    return sorted(sorted(names) for names in by_content.values() if len(names) > 1)


def hash_clip(frames: np.ndarray) -> np.ndarray:
    """Return the hash, uint64 (10,), of five of the frames, uint8 (T, H, W, 3) RGB."""
    T = len(frames)
    words = np.empty((FRAMES, 2), np.uint64)
    for i in range(FRAMES):
        grey = cv2.cvtColor(frames[(2 * i + 1) * T // (2 * FRAMES)], cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, (9, 9), interpolation=cv2.INTER_AREA)
        rows = small[:8, 1:] > small[:8, :-1]
        columns = small[1:, :8] > small[:-1, :8]
        words[i] = np.packbits([rows.ravel(), columns.ravel()], axis=1).view(np.uint64)[:, 0]
    return words.ravel()


def hash_store(frames: FrameStore, clips: Sequence[Clip]) -> np.ndarray:
    """Return the difference hash of each clip of a store, uint64 (N, 10), in its order.

    A `UserError` says where the store does not hold the rows `clips` of the table.
    """
    if [clip.clip for clip in clips] != frames.clips:
        raise UserError(
            f"{frames.path} and clips.csv have {len(frames.clips)} and {len(clips)} clips of "
            "different runs. Run `dvc repro extract`."
        )
    bar = tqdm(frames.clips, desc="Comparing", unit="clip", disable=None, leave=False)
    return np.stack([hash_clip(frames.read([clip])[0][0]) for clip in bar])


def near_pairs(
    hashes: np.ndarray, groups: np.ndarray, limit: int = LIMIT, most: int = 10_000, block: int = 512
) -> np.ndarray:
    """Find the `most` nearest pairs of clips of different groups that differ in ≤ `limit` bits.

    `hashes` are uint64 (N, words), `groups` int (N,); memory is 12 · block · N bytes.

    Returns:
        int64 (pairs, 3): i, j > i and the bits that differ; by bits, then by i and j.
    """
    N = len(hashes)
    columns = np.ascontiguousarray(hashes.T)
    pairs = np.empty((0, 3), np.int64)
    for start in range(0, N, block):
        stop = min(start + block, N)
        bits = np.zeros((stop - start, N - start), np.uint16)
        for word in columns:
            bits += np.bitwise_count(word[start:stop, None] ^ word[start:])
        rows, others = np.nonzero(bits <= limit)
        chosen = (others > rows) & (groups[rows + start] != groups[others + start])
        rows, others = rows[chosen], others[chosen]
        found = np.stack([rows + start, others + start, bits[rows, others]], axis=1)
        pairs = np.concatenate([pairs, found])
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], pairs[:, 2]))][:most]
    return pairs


def across_groups(clips: Sequence[Clip], hashes: np.ndarray, most: int = 10_000) -> list[Pair]:
    """Return the pairs of clips of different groups that are equal or look alike, nearest first."""
    groups = np.unique([source_of(c.label, c.group) for c in clips], return_inverse=True)[1]
    pairs = []
    for i, j, bits in near_pairs(hashes, groups, most=most).tolist():
        equal = clips[i].sha256 == clips[j].sha256
        pairs.append(Pair(clips[i].clip, clips[j].clip, None if equal else bits / BITS))
    return pairs
