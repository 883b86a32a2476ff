"""Hostile variants of clips: none is lost, none is short, and nothing crashes, hangs or swells."""

import contextlib
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

av = pytest.importorskip("av")

FORMATS = {
    "h264.mp4": ("-c:v", "libx264", "-bf", "2"),
    "h264.mkv": ("-c:v", "libx264"),
    "h264.ts": ("-c:v", "libx264"),
    "h264.flv": ("-c:v", "libx264"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8"),
    "xvid.avi": ("-c:v", "mpeg4", "-vtag", "XVID"),
    "mjpeg.avi": ("-c:v", "mjpeg"),
    "mpeg2.mpg": ("-c:v", "mpeg2video"),
    "mpeg4.mov": ("-c:v", "mpeg4"),
    "mpeg4.3gp": ("-c:v", "mpeg4"),
    "wmv2.wmv": ("-c:v", "wmv2"),
    "anim.gif": (),
}


def flip(data: bytearray, rng: random.Random, start: int = 0, n: int = 1) -> bytearray:
    for _ in range(n):
        data[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
    return data


def cut_out(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, len(data) // 4)]
    return data


def zeros(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    n = min(rng.randrange(1, 4000), len(data) - start)
    data[start : start + n] = bytes(n)
    return data


def insert(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(rng.randrange(1, 3000)) + data[start:]


def swap(data: bytearray, rng: random.Random) -> bytearray:
    a, b, c = sorted(rng.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


MUTATIONS: list[Callable[[bytearray, random.Random], bytes]] = [
    lambda data, rng: flip(data, rng),
    lambda data, rng: flip(data, rng, n=20),
    lambda data, rng: flip(data, rng, len(data) // 5, n=300),
    lambda data, rng: flip(data[:200], rng, n=3) + data[200:],  # the header
    lambda data, rng: data[: rng.randrange(len(data))],  # a broken download
    lambda data, rng: data[rng.randrange(len(data)) :],
    lambda data, rng: data[:0] if rng.random() < 0.2 else data + rng.randbytes(5000),
    lambda data, rng: data + data,
    lambda data, rng: rng.randbytes(len(data)),
    lambda data, rng: bytes(rng.randrange(1, 300)) + data,
    cut_out,
    zeros,
    insert,
    swap,
]
NAMES = [
    "a.avi",
    "a.mp4",
    "10:30.mp4",
    "pipe:0",
    "-i.mp4",
    "a b.mkv",
    "é.mov",
    "%03d.avi",
    "歩.ts",
    "a",
]


def ffmpeg_count(path: Path) -> int:
    """Return how many frames FFmpeg decodes, with the demuxers that are allowed here."""
    command = [
        *("ffprobe", "-v", "quiet", "-threads", "1", "-count_frames", "-select_streams", "v:0"),
        *("-show_entries", "stream=nb_read_frames", "-of", "json", "file:" + str(path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    with_count = json.loads(done.stdout or "{}").get("streams") or [{}]
    count = with_count[0].get("nb_read_frames", "0")
    return int(count) if count.isdecimal() else 0


def pyav_count(path: Path) -> int:
    """Return how many frames a newer FFmpeg decodes that goes on after an error."""
    n_frames = 0
    with contextlib.suppress(av.error.FFmpegError), av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        while packet := next(packets, None):
            with contextlib.suppress(av.error.FFmpegError):
                n_frames += len(packet.decode())
    return n_frames


def near(ours: int, count: int) -> bool:
    return abs(ours - count) <= max(0.02 * count, 1)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, bytes]:
    """Return a video of each format: 80 frames, as FFmpeg writes them."""
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("needs ffmpeg and ffprobe")
    folder, made = tmp_path_factory.mktemp("originals"), {}
    for name, options in FORMATS.items():
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=3.2"]
        command += [*options, str(folder / name)]
        if subprocess.run(command, capture_output=True).returncode == 0:  # has the encoder
            made[name] = (folder / name).read_bytes()
    return made


def test_variants_of_clips(originals, rng, times, tmp_path):
    videos = tmp_path / "data/fetched/Class"
    videos.mkdir(parents=True)
    (videos / "good.avi").write_bytes(originals["xvid.avi"])
    for i in range(times(500)):
        name = rng.choice(list(originals))
        data = bytes(rng.choice(MUTATIONS)(bytearray(originals[name]), rng))
        if rng.random() < 0.2:
            data = bytes(rng.choice(MUTATIONS)(bytearray(data or b"x" * 400), rng))
        ending = name if rng.random() < 0.8 else rng.choice(NAMES)
        (videos / f"{i:03}_{ending}").write_bytes(data)
    names = {f"Class/{path.name}" for path in videos.iterdir()}
    (tmp_path / "params.yaml").write_text((Path(__file__).parents[2] / "params.yaml").read_text())
    start, peak = time.monotonic(), 0
    with (tmp_path / "log").open("w") as log:
        running = psutil.Popen(
            [sys.executable, str(Path(__file__).parents[2] / "stages/extract.py")],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=log,
            stderr=log,
        )
        while running.poll() is None:
            assert time.monotonic() - start < 60 + len(names), "it hangs"
            used = 0
            for process in [running, *running.children(recursive=True)]:
                try:
                    facts = process.memory_full_info()
                    used += facts.uss
                except psutil.Error:
                    pass
            peak = max(peak, used)
            time.sleep(0.1)
    text = (tmp_path / "log").read_text()
    assert running.returncode == 0, text
    assert "Traceback" not in text
    assert peak < 1e9, f"{peak / 1e6:.0f} MB"
    tables = {}
    for table in ("clips", "rejected"):
        with (tmp_path / f"data/{table}.csv").open(encoding="utf-8", newline="") as file:
            tables[table] = {row["clip"]: row for row in csv.DictReader(file)}
    assert tables["clips"].keys() | tables["rejected"].keys() == names
    assert not tables["clips"].keys() & tables["rejected"].keys()
    wrong = []
    for name in sorted(names):
        path, count = videos.parent / name, ffmpeg_count(videos.parent / name)
        if name in tables["clips"]:
            ours = int(tables["clips"][name]["n_frames"])
            if not near(ours, count) and not near(ours, newer := pyav_count(path)):
                wrong.append((name, ours, count, newer))
            continue
        reason = tables["rejected"][name]["reason"]
        assert "crash" not in reason, (name, reason)
        assert "hangs" not in reason, (name, reason)
        if count > 1 and "picture" not in reason and "sound" not in reason:
            wrong.append((name, reason, count))
    print(
        f"{len(names)} files: {len(tables['clips'])} decode; {peak / 1e6:.0f} MB, "
        f"{time.monotonic() - start:.0f} s; wrong: {wrong}"
    )
    assert not wrong
