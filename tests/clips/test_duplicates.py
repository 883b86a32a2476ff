import time

import cv2
import numpy as np
import pytest

from har import files
from har.clips import duplicates, segments, video
from har.clips.store import Clip


def scene(seed: int, n: int = 40, height: int = 120, width: int = 160) -> np.ndarray:
    """A blurred random place in which a square walks: RGB uint8 (n, height, width, 3)."""
    rng = np.random.default_rng(seed)
    place = cv2.resize(rng.integers(40, 200, (6, 8, 3), dtype=np.uint8), (width, height))
    frames = np.repeat(place[None], n, axis=0)
    for i, frame in enumerate(frames):
        frame[50:80, 20 + 2 * i : 40 + 2 * i] = 255
    return frames


def clip(name: str, group: str, sha256: str = "", label: str = "A") -> Clip:
    return Clip(f"{label}/{name}", label, group, sha256 or name, 40, 25.0, 160, 120)


@pytest.fixture
def hash_of(tmp_path, write_video):
    def make(frames: np.ndarray, codec: str = "XVID") -> np.ndarray:
        path = write_video(tmp_path / "clip.avi", frames, codec)
        return duplicates.hash_clip(video.read_clip(path, 20, 64, 64)[0])

    return make


def bits(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.bitwise_count(a ^ b).sum())


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f,
        lambda f: np.stack([cv2.resize(x, (80, 60), interpolation=cv2.INTER_AREA) for x in f]),
        lambda f: np.stack([cv2.convertScaleAbs(x, alpha=1.1, beta=20) for x in f]),
        lambda f: f[4:-2],
    ],
    ids=["encoded again", "half the size", "brighter", "trimmed"],
)
def test_copies_are_near(hash_of, change):
    for seed in range(4):
        frames = scene(seed)
        copy = hash_of(change(frames), "MJPG")
        assert bits(hash_of(frames), copy) <= duplicates.LIMIT


def test_other_places_are_far(hash_of):
    hashes = [hash_of(scene(seed)) for seed in range(8)]
    assert len(duplicates.near_pairs(np.stack(hashes), np.arange(8))) == 0


def test_a_bit_tells_which_neighbour_is_brighter():
    grey = np.arange(90, dtype=np.uint8)[None, :, None, None]
    down = np.tile(grey, (5, 1, 90, 3))  # brighter from above to below
    words = duplicates.hash_clip(down).reshape(5, 2)
    assert (words[:, 0] == 0).all()
    assert (words[:, 1] == np.uint64(2**64 - 1)).all()
    words = duplicates.hash_clip(down.transpose(0, 2, 1, 3).copy()).reshape(5, 2)
    assert (words[:, 0] == np.uint64(2**64 - 1)).all()
    assert (words[:, 1] == 0).all()


def test_a_clip_of_one_frame_has_a_hash():
    assert duplicates.hash_clip(np.zeros((1, 7, 5, 3), np.uint8)).tolist() == [0] * 10


@pytest.mark.parametrize("block", [1, 3, 7, 64])
def test_pairs_are_those_of_the_definition(block):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (20, 2)).astype(np.uint64)
    groups = rng.integers(0, 5, 20)
    expected = sorted(
        (bits(hashes[i], hashes[j]), i, j)
        for i in range(20)
        for j in range(i + 1, 20)
        if groups[i] != groups[j] and bits(hashes[i], hashes[j]) <= 60
    )
    found = duplicates.near_pairs(hashes, groups, limit=60, block=block)
    assert [(b, i, j) for i, j, b in found.tolist()] == expected != []
    few = duplicates.near_pairs(hashes, groups, limit=60, most=3, block=block)
    assert few.tolist() == found[:3].tolist()


def test_ucf101_takes_seconds():
    hashes = np.random.default_rng(0).integers(0, 2**63, (13_320, 10)).astype(np.uint64)
    start = time.process_time()
    duplicates.near_pairs(hashes, np.arange(13_320))
    assert time.process_time() - start < 20


def test_pairs_of_one_group_are_not_listed_and_equal_files_are_told():
    clips = [clip("a", "g01"), clip("b", "g01"), clip("c", "g02", "a"), clip("d", "g01", label="B")]
    pairs = duplicates.across_groups(clips, np.zeros((4, 10), np.uint64))
    assert {(p.first, p.second): p.difference for p in pairs} == {
        ("A/a", "A/c"): None,
        ("A/a", "B/d"): 0.0,
        ("A/b", "A/c"): 0.0,
        ("A/b", "B/d"): 0.0,
        ("A/c", "B/d"): 0.0,
    }


def test_identical_files():
    clips = [clip("c", "g1", "x"), clip("a", "g2", "x"), clip("b", "g1", "y"), clip("d", "g1", "x")]
    assert duplicates.identical(clips) == [["A/a", "A/c", "A/d"]]


def test_real_clips_have_one_equal_pair_and_few_near_ones(real_clips):
    hashes, clips = [], []
    for path in sorted((real_clips / "TrampolineJumping").glob("*.avi")):
        frames, facts = video.read_clip(path, 20, 64, 64)
        name = f"TrampolineJumping/{path.name}"
        hashes.append(duplicates.hash_clip(frames))
        sha256 = files.file_sha256(path)
        clips.append(
            Clip(name, "TrampolineJumping", segments.group_of(name) or name, sha256, *facts)
        )
    pairs = duplicates.across_groups(clips, np.stack(hashes))
    [same] = [pair for pair in pairs if pair.difference is None]
    assert [same.first[-11:], same.second[-11:]] == ["g08_c01.avi", "g12_c05.avi"]
    # All of these were looked at: the same place and people under two group numbers.
    assert {(pair.first[-11:-8], pair.second[-11:-8]) for pair in pairs} == {
        ("g08", "g12"),
        ("g03", "g11"),
        ("g14", "g17"),
    }
