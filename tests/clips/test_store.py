import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from har.clips import store
from har.clips.store import Clip, FrameStore
from har.errors import UserError

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r/"), min_size=1)


def fill(path: Path, offsets: list[int], frames: np.ndarray) -> None:
    with path.open("r+b") as file:
        for offset, clip in zip(offsets, frames, strict=True):
            file.seek(offset)
            file.write(clip.tobytes())


def make(path: Path, clips, labels, shape, seed: int = 0) -> np.ndarray:
    frames = np.random.default_rng(seed).integers(0, 256, (len(clips), *shape, 3), np.uint8)
    fill(path, store.create(path, clips, labels, shape), frames)
    return frames


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    clips=st.lists(st.tuples(names, names), min_size=1, max_size=8, unique=True),
    data=st.data(),
)
def test_round_trip(tmp_path_factory, shape, clips, data):
    path = tmp_path_factory.getbasetemp() / "frames.h5"
    paths = [f"{label}/{name}" for label, name in clips]
    frames = make(path, paths, [label for label, _ in clips], shape)
    asked = data.draw(st.lists(st.sampled_from(range(len(clips))), max_size=6))
    with FrameStore(path) as opened:
        assert opened.clips == paths
        assert opened.shape == shape
        assert opened.classes == sorted({label for label, _ in clips})
        pixels, labels = opened.read([paths[i] for i in asked])
        np.testing.assert_array_equal(pixels, frames[asked])
        assert (pixels.dtype, pixels.shape) == (np.uint8, (len(asked), *shape, 3))
        assert (labels.dtype, labels.shape) == (np.int64, (len(asked),))
        assert [opened.classes[i] for i in labels] == [clips[i][0] for i in asked]
        np.testing.assert_array_equal(opened.labels_of(opened.clips), opened.labels)


def test_what_the_file_holds_by_its_definition(tmp_path):
    path = tmp_path / "frames.h5"
    frames = make(path, ["B/1", "A/1", "B/2"], ["B", "A", "B"], (2, 4, 6))
    with h5py.File(path) as file:
        assert sorted(file) == ["clip", "frames", "label"]
        dataset = file["frames"]
        assert dataset.shape == (3, 2, 4, 6, 3)
        assert dataset.dtype == np.uint8
        assert dataset.chunks == (1, 2, 4, 6, 3)
        assert dataset.compression is None
        np.testing.assert_array_equal(dataset[:], frames)
        assert file["clip"].asstr()[:].tolist() == ["B/1", "A/1", "B/2"]
        assert file["label"][:].tolist() == [1, 0, 1]
        assert file.attrs["classes"] == '["A", "B"]'
        assert [file.attrs[name] for name in ("count", "height", "width")] == [2, 4, 6]


def test_offsets_are_apart_by_a_clip_at_least(tmp_path):
    offsets = store.create(tmp_path / "a.h5", [f"A/{i}" for i in range(70)], ["A"] * 70, (3, 5, 7))
    assert np.diff(sorted(offsets)).min() >= 3 * 5 * 7 * 3
    assert (tmp_path / "a.h5").stat().st_size >= max(offsets) + 3 * 5 * 7 * 3


def test_the_same_clips_give_the_same_bytes_at_another_time(tmp_path):
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in paths:
        make(path, ["A/1", "B/1"], ["A", "B"], (2, 8, 8))
        time.sleep(1.1)  # HDF5 notes times in whole seconds
    assert paths[0].read_bytes() == paths[1].read_bytes()


def text(path):
    path.write_text("clip,class\n")


def empty(path):
    path.write_bytes(b"")


def other_hdf5(path):
    with h5py.File(path, "w") as file:
        file["frames"] = np.zeros(3)


def without_attributes(path):
    store.create(path, ["A/1"], ["A"], (1, 8, 8))
    with h5py.File(path, "r+") as file:
        del file.attrs["classes"]


def truncated(path):
    store.create(path, ["A/1"], ["A"], (4, 32, 32))
    path.write_bytes(path.read_bytes()[:4000])


@pytest.mark.parametrize("spoil", [None, text, empty, other_hdf5, without_attributes, truncated])
def test_files_that_are_no_store(tmp_path, spoil):
    path = tmp_path / "frames.h5"
    if spoil:
        spoil(path)
    with pytest.raises(UserError, match=r"file of frames at .*frames.h5. Received: .*dvc repro"):
        FrameStore(path)


CLIPS = [
    Clip("B/b, c.avi", "B", "g02", "f" * 64, 116, 29.97, 320, 240),
    Clip('A/"ü".mp4', "A", 'A/"ü".mp4', "0" * 64, 1, 0.0, 17, 13),
]


def test_the_table_of_clips_comes_back_sorted(tmp_path):
    path = tmp_path / "clips.csv"
    store.write_clips(path, CLIPS)
    assert store.read_clips(path) == [CLIPS[1], CLIPS[0]]
    lines = path.read_bytes().split(b"\n")
    assert lines[0] == b"clip,class,group,sha256,n_frames,fps,width,height"
    assert lines[2] == b'"B/b, c.avi",B,g02,' + b"f" * 64 + b",116,29.97,320,240"
    assert lines[3:] == [b""]


def test_no_table(tmp_path):
    with pytest.raises(UserError, match=r"clips.csv does not exist"):
        store.read_clips(tmp_path / "clips.csv")
