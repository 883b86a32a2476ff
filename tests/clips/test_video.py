import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from har.clips import video

CODECS = ["MJPG", "XVID"]


@pytest.fixture
def faults(real_clips) -> Path:
    folder = real_clips.parent / "faults"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    return folder


@given(n=st.integers(1, 2000), count=st.integers(1, 200))
def test_even_indices_laws(n, count):
    picked = video.even_indices(n, count)
    steps = np.diff(picked)
    assert picked.shape == (count,)
    assert picked.dtype == np.int64
    assert picked.min() >= 0
    assert picked.max() < n
    assert (steps >= 0).all()
    assert np.ptp(steps) <= 1 if count > 1 else True
    # Neither end of the clip is favoured.
    assert np.abs(picked - (n - 1 - picked[::-1])).max() <= 1


@given(n=st.integers(1, 500))
def test_all_frames_are_picked_when_as_many_are_asked(n):
    assert video.even_indices(n, n).tolist() == list(range(n))


@given(n=st.integers(1, 100), data=st.data())
def test_a_short_clip_repeats_each_frame_about_equally_often(n, data):
    count = data.draw(st.integers(n, 300))
    times = np.bincount(video.even_indices(n, count), minlength=n)
    assert times.min() >= 1
    assert np.ptp(times) <= 1


@pytest.mark.parametrize(
    ("n", "count", "expected"),
    [
        (1, 1, [0]),
        (1, 3, [0, 0, 0]),
        (3, 1, [1]),
        (100, 1, [50]),
        (10, 5, [1, 3, 5, 7, 9]),
        (9, 3, [1, 4, 7]),
        (2, 4, [0, 0, 1, 1]),
    ],
)
def test_even_indices_are_the_middles_of_equal_parts(n, count, expected):
    assert video.even_indices(n, count).tolist() == expected


@pytest.mark.parametrize(("n", "count"), [(0, 1), (-1, 1), (1, 0), (5, -2)])
def test_even_indices_of_nothing_are_refused(n, count):
    with pytest.raises(ValueError, match=f"Received: n_frames={n}, count={count}"):
        video.even_indices(n, count)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("n", "count"), [(40, 10), (37, 20), (20, 20), (7, 20), (1, 3), (30, 1)])
def test_the_frames_are_those_of_even_indices(
    tmp_path, write_video, coded_frames, read_indices, codec, n, count
):
    path = write_video(tmp_path / "clip.avi", coded_frames(n), codec)
    frames, facts = video.read_clip(path, count, 32, 64)
    assert frames.shape == (count, 32, 64, 3)
    assert frames.dtype == np.uint8
    assert read_indices(frames) == video.even_indices(n, count).tolist()
    assert facts == video.VideoFacts(n, 25.0, 64, 32)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("said", [1, 25, 29, 31, 48, 1000])
def test_a_header_that_lies_about_the_count_changes_nothing(
    tmp_path, write_video, coded_frames, read_indices, patch_avi, codec, said
):
    path = write_video(tmp_path / "clip.avi", coded_frames(30), codec)
    honest, _ = video.read_clip(path, 8, 32, 64)
    patch_avi(path, n_frames=said)
    frames, facts = video.read_clip(path, 8, 32, 64)
    assert facts.n_frames == 30
    assert read_indices(frames) == video.even_indices(30, 8).tolist()
    np.testing.assert_array_equal(frames, honest)


def insert_empty_chunks(path: Path, places: list[int]) -> None:
    """Insert chunks without a picture before these chunks of an AVI, and count them as frames.

    AVI RIFF File Reference: encoders write them for frames that they drop.
    """
    data = path.read_bytes()
    start = data.index(b"movi") + 4
    (size,) = struct.unpack_from("<I", data, start - 8)  # counts from "movi" on
    chunks, at = [], start
    while at < start - 4 + size:
        (length,) = struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        chunks.append(data[at:end])
        at = end
    for place in sorted(places, reverse=True):
        chunks.insert(place, chunks[0][:4] + bytes(4))
    body = b"".join(chunks)
    header = data[: start - 8] + struct.pack("<I", 4 + len(body)) + b"movi"
    whole = bytearray(header + body)
    struct.pack_into("<I", whole, 4, len(whole) - 8)
    path.write_bytes(whole)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "places",
    [[1], [2, 2, 2], [20], [39], [5, 21, 37], list(range(1, 40)), [40], [40, 40, 40]],
    ids=str,
)
def test_frames_that_the_encoder_dropped_are_counted_by_the_header_alone(
    tmp_path, write_video, coded_frames, read_indices, patch_avi, codec, places
):
    path = write_video(tmp_path / "clip.avi", coded_frames(40), codec)
    honest, _ = video.read_clip(path, 10, 32, 64)
    insert_empty_chunks(path, places)
    patch_avi(path, n_frames=40 + len(places))
    frames, facts = video.read_clip(path, 10, 32, 64)
    assert facts.n_frames == 40
    assert read_indices(frames) == video.even_indices(40, 10).tolist()
    np.testing.assert_array_equal(frames, honest)


@pytest.mark.parametrize(("said", "times"), [(40, 1), (44, 2), (1, 2)])
def test_only_a_clip_whose_header_is_wrong_is_decoded_twice(
    tmp_path, write_video, coded_frames, patch_avi, monkeypatch, said, times
):
    path = write_video(tmp_path / "clip.avi", coded_frames(40))
    patch_avi(path, n_frames=said)
    opened = []
    open_ = video._open
    monkeypatch.setattr(video, "_open", lambda path: opened.append(path) or open_(path))
    video.read_clip(path, 10, 32, 64)
    assert opened == [path] * times


@pytest.mark.parametrize("codec", CODECS)
def test_picks_and_rate_go_by_time_where_frames_are_uneven(
    tmp_path, write_video, coded_frames, read_indices, patch_avi, codec
):
    path = write_video(tmp_path / "clip.avi", coded_frames(40), codec)
    insert_empty_chunks(path, [20] * 40)  # frames 0 to 19, a pause of 40, frames 20 to 39
    patch_avi(path, n_frames=80)
    frames, facts = video.read_clip(path, 8, 32, 64)
    assert facts == video.VideoFacts(40, 12.5, 64, 32)  # 40 frames in 80 / 25 seconds
    # Shown at 5, 15, … 75 of 80.
    assert read_indices(frames) == [5, 15, 19, 19, 19, 19, 25, 35]
    assert max(at for at, _ in video.timed(path)) == pytest.approx(79 / 25)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("places", [range(10, 12), range(5, 35, 3), range(2, 39)])
def test_packets_that_do_not_decode_do_not_end_a_video(
    tmp_path, write_video, coded_frames, read_indices, codec, places
):
    path = write_video(tmp_path / "clip.avi", coded_frames(40), codec)
    data = bytearray(path.read_bytes())
    at = data.index(b"movi") + 4
    for number in range(40):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if number in places:
            data[at + 8 : at + 8 + length] = b"\xff" * length
        at += 8 + length + length % 2
    path.write_bytes(data)
    last = read_indices(np.stack([frame for _, frame in video.timed(path)])[-1:])
    if codec == "MJPG":  # every frame is a picture by itself
        assert last == [39]
        assert video.read_clip(path, 4, 32, 64)[1].n_frames >= 40 - len(places)
    assert video.read_clip(path, 4, 32, 64)[1].n_frames >= 40 - len(places) - 12


@pytest.mark.parametrize("codec", CODECS)
def test_a_truncated_file_gives_even_frames_of_what_is_left(
    tmp_path, write_video, coded_frames, read_indices, cut, codec
):
    path = write_video(tmp_path / "clip.avi", coded_frames(60), codec)
    cut(path, 0.5)
    frames, facts = video.read_clip(path, 6, 32, 64)
    assert 5 < facts.n_frames < 60
    assert read_indices(frames) == video.even_indices(facts.n_frames, 6).tolist()


def test_a_stream_without_a_header_is_counted_by_decoding(
    tmp_path, write_jpegs, coded_frames, read_indices
):
    path = write_jpegs(tmp_path / "clip.mjpeg", list(coded_frames(21)))
    frames, facts = video.read_clip(path, 7, 32, 64)
    assert facts[0] == 21
    assert facts[2:] == (64, 32)
    assert read_indices(frames) == video.even_indices(21, 7).tolist()


def test_a_size_that_changes_in_the_middle_keeps_every_frame(
    tmp_path, write_jpegs, coded_frames, read_indices
):
    images = [*coded_frames(10), *coded_frames(20, 48, 40)[10:]]
    path = write_jpegs(tmp_path / "clip.mjpeg", images)
    frames, facts = video.read_clip(path, 20, 32, 64)
    assert facts.n_frames == 20
    assert (facts.width, facts.height) == (64, 32)
    assert read_indices(frames) == list(range(20))


def test_odd_sizes_are_read(tmp_path, write_jpegs):
    rng = np.random.default_rng(0)
    image = np.full((13, 17, 3), rng.integers(60, 200, 3), np.uint8)
    path = write_jpegs(tmp_path / "clip.mjpeg", [image] * 3)
    frames, facts = video.read_clip(path, 3, 13, 17)
    assert (facts.width, facts.height) == (17, 13)
    assert np.abs(frames.astype(int) - image).max() <= 4


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 200, 20)])
def test_colours_are_rgb(tmp_path, write_video, codec, colour):
    path = write_video(tmp_path / "clip.avi", np.full((4, 32, 32, 3), colour, np.uint8), codec)
    frames, _ = video.read_clip(path, 2, 16, 16)
    assert np.abs(frames.astype(int) - colour).max() <= 8
    for _, frame in video.timed(path):
        assert np.abs(frame.astype(int) - colour).max() <= 8


def test_height_and_width_are_not_swapped(tmp_path, write_video):
    # White above, black below: after any resize the upper half is white.
    source = np.zeros((3, 48, 96, 3), np.uint8)
    source[:, :24] = 255
    path = write_video(tmp_path / "clip.avi", source)
    frames, facts = video.read_clip(path, 3, 20, 10)
    assert (facts.width, facts.height) == (96, 48)
    assert frames.shape == (3, 20, 10, 3)
    assert frames[:, :9].min() > 230
    assert frames[:, 11:].max() < 25


def test_resize_averages_areas(tmp_path, write_jpegs):
    # Stripes one pixel wide: picking pixels would give black or white, averaging gives grey.
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::4] = 255
    path = write_jpegs(tmp_path / "clip.mjpeg", [image])
    frames, _ = video.read_clip(path, 1, 16, 16)
    assert np.abs(frames.astype(int) - 255 / 4).max() <= 6


@pytest.mark.parametrize(
    ("rate", "scale", "fps"),
    [(25, 1, 25.0), (30000, 1001, 29.97), (15, 2, 7.5), (90000, 1, 0.0), (25, 32769, 0.0)],
)
def test_fps_is_the_headers_and_zero_where_that_makes_no_sense(
    tmp_path, write_video, coded_frames, patch_avi, rate, scale, fps
):
    path = write_video(tmp_path / "clip.avi", coded_frames(6))
    patch_avi(path, rate=rate, scale=scale)
    assert video.read_clip(path, 2, 32, 64)[1] == video.VideoFacts(6, fps, 64, 32)


def test_iterate_yields_every_frame_in_order(tmp_path, write_video, coded_frames, read_indices):
    path = write_video(tmp_path / "clip.avi", coded_frames(45), "XVID")
    frames = np.stack([frame for _, frame in video.timed(path)])
    assert frames.shape == (45, 32, 64, 3)
    assert read_indices(frames) == list(range(45))


def no_bytes(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("This is not a video.\n" * 100)


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_bytes, "empty file"),
        (text, "a text file, not a video"),
        (noise, "not a video that FFmpeg reads"),
    ],
)
@pytest.mark.parametrize("name", ["clip.avi", "clip.mp4"])
def test_files_that_are_no_videos(tmp_path, spoil, reason, name):
    path = tmp_path / name
    spoil(path)
    with pytest.raises(video.UnreadableVideoError, match=reason):
        video.read_clip(path, 2, 16, 16)
    with pytest.raises(video.UnreadableVideoError, match=reason):
        next(video.timed(path))


def test_pictures_and_sounds_are_no_videos(tmp_path):
    image = np.full((48, 64, 3), 128, np.uint8)
    for name in (
        "a.png",
        "a.jpg",
        "a.webp",
        "a.gif",
        "a.jp2",
        "a.ppm",
        "a.bmp",
        "a.tiff",
        "a.avif",
    ):
        path = tmp_path / name
        if not cv2.haveImageWriter(str(path)):
            continue
        assert cv2.imwrite(str(path), image)
        for other in (path, path.with_suffix(".THM"), path.with_suffix(".mp4")):
            if other != path:
                other.write_bytes(path.read_bytes())
            with pytest.raises(video.UnreadableVideoError, match="a picture, not a video"):
                video.read_clip(other, 2, 16, 16)
    (tmp_path / "a.mp3").write_bytes(b"ID3" + bytes(range(256)) * 20)
    with pytest.raises(video.UnreadableVideoError, match="a sound file, not a video"):
        video.read_clip(tmp_path / "a.mp3", 2, 16, 16)


@pytest.fixture
def secret(tmp_path, write_video, coded_frames) -> Path:
    return write_video(tmp_path / "secret.avi", coded_frames(5))


@pytest.mark.parametrize("reader", ["opencv", "pyav"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#\x01\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n#\x01\n",
        "concat:{}\x01",
    ],
)
@pytest.mark.parametrize("name", ["list.m3u8", "list.avi", "list.ffconcat"])
def test_playlists_do_not_open_the_files_that_they_name(tmp_path, secret, reader, text, name):
    path = tmp_path / name
    path.write_text(text.format(secret))
    if reader == "opencv":
        with pytest.raises(video.UnreadableVideoError):
            video.read_clip(path, 2, 16, 16)
    else:
        av = pytest.importorskip("av")
        with pytest.raises(av.error.FFmpegError):
            av.open(str(path), options=video.OPTIONS)


@pytest.mark.parametrize("prefix", ["concat:", "file:", "pipe:0", "subfile,,start,0,end,0,,:"])
def test_names_that_look_like_protocols_are_names(secret, prefix, monkeypatch):
    monkeypatch.chdir(secret.parent)
    with pytest.raises(FileNotFoundError):
        video.read_clip(Path(f"{prefix}secret.avi"), 2, 16, 16)


def test_a_name_with_a_colon(secret, monkeypatch):
    monkeypatch.chdir(secret.parent)
    secret.rename("2024-05-01T10:30:00.avi")
    assert video.read_clip(Path("2024-05-01T10:30:00.avi"), 2, 32, 64)[1].n_frames == 5


def test_a_name_that_is_not_utf8(secret):
    path = secret.with_name(os.fsdecode(b"\xff.avi"))
    secret.rename(path)
    for read in (lambda: video.read_clip(path, 2, 16, 16), lambda: video.length(path)):
        with pytest.raises(video.UnreadableVideoError, match="its name is not UTF-8"):
            read()


@pytest.mark.parametrize("value", [None, "rtsp_transport;udp"])
def test_opening_leaves_the_environment_as_it_was(secret, monkeypatch, value):
    if value:
        monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", value)
    before = dict(os.environ)
    video.read_clip(secret, 2, 16, 16)
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("name", "n_frames", "seconds"),
    [
        ("late.mkv", 25, 1.0),
        ("slides.mp4", 4, 300.0),
        ("talk_1_120.mp4", 50, 129.8),
        ("nd_live_vfr.webm", 18, 0.7),
        ("vfr2.mkv", 67, 6.0),
        ("flip1bit.avi", 45, 1.8),
    ],
)
def test_faulty_videos(faults, name, n_frames, seconds):
    times = [at for at, _ in video.timed(faults / name)]
    assert len(times) == n_frames
    assert times[-1] == pytest.approx(seconds, abs=0.05)
    facts = video.read_clip(faults / name, 20, 32, 32)[1]
    assert facts.n_frames == n_frames
    if facts.fps and name != "slides.mp4":  # whose last picture may be shown for a second or hours
        assert n_frames / facts.fps == pytest.approx(seconds, rel=0.06)
    if name != "late.mkv":  # whose sound begins two minutes earlier
        assert video.length(faults / name) == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize("name", ["song.mp3", "GOPR0001.THM", "still.webp"])
def test_faulty_files_that_are_no_videos(faults, name):
    for read in (video.length, lambda path: video.read_clip(path, 2, 16, 16)):
        with pytest.raises(
            video.UnreadableVideoError, match=r"a (picture|sound file), not a video"
        ):
            read(faults / name)


def test_av1_is_named(faults):
    with pytest.raises(video.UnreadableVideoError, match="no decoder for AV1; convert it"):
        video.read_clip(faults / "av1.mp4", 2, 16, 16)


@pytest.mark.parametrize(
    ("share", "reason"), [(0.0, "no frame decodes"), (None, "not a video that FFmpeg reads")]
)
def test_a_file_cut_before_its_first_frame(tmp_path, write_video, coded_frames, cut, share, reason):
    path = write_video(tmp_path / "clip.avi", coded_frames(6))
    if share is None:
        path.write_bytes(path.read_bytes()[:50])
    else:
        cut(path, share)
    with pytest.raises(video.UnreadableVideoError, match=reason):
        video.read_clip(path, 2, 16, 16)


def test_names_that_are_hard_on_ffmpeg(tmp_path, write_video, coded_frames, read_indices):
    source = write_video(tmp_path / "plain.avi", coded_frames(5)).read_bytes()
    for name in ("with space.avi", "ünï.avi", "100%.avi", "img%03d.avi", "a:b.avi", "#?&.avi"):
        path = tmp_path / name
        path.write_bytes(source)
        assert read_indices(video.read_clip(path, 5, 32, 64)[0]) == list(range(5)), name


def test_a_real_clip_whose_header_overstates_the_count(real_clips):
    path = real_clips / "JumpingJack" / "v_JumpingJack_g20_c01.avi"
    frames, facts = video.read_clip(path, 20, 64, 64)
    assert facts.n_frames == 116  # the header says 120
    every = [frame for _, frame in video.timed(path)]
    assert len(every) == 116
    assert (facts.width, facts.height) == (every[0].shape[1], every[0].shape[0])
    assert frames.reshape(20, -1).std(axis=1).min() > 0
