import csv
import io
import json
import os
import struct
import sys
import wave
from pathlib import Path

import cv2
import numpy as np
import predictor_models as small
import pytest

from har import cli
from har.clips import extraction, video
from har.clips.store import FrameStore
from har.nn import familiarity
from har.predictor.prediction import Settings, predict
from har.predictor.recogniser import Recogniser
from har.training import batches

av = pytest.importorskip("av", reason="PyAV writes videos here that OpenCV cannot")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return small.save(small.frame_by_frame(), folder / "lrcn", unknown_below=-1e9)


@pytest.fixture(scope="module")
def recogniser(model) -> Recogniser:
    return Recogniser.open(model)


@pytest.fixture
def har(model, monkeypatch, capsys):
    """Run `har predict` with the small model; returns (exit code, output, errors)."""

    def run(*arguments: object):
        words = ["har", "predict", *map(str, arguments), "--model", str(model)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return run


@pytest.fixture
def folder(in_tmp_path, write_video):
    """Two classes of three videos each, 20 to 45 frames."""
    for seed in range(6):
        name = in_tmp_path / "videos" / ("Jump", "Run")[seed % 2] / f"v_{seed}_g0{seed}_c01.avi"
        write_video(name, small.moving(20 + 5 * seed, seed))
    return in_tmp_path / "videos"


def test_standard_input_gives_what_the_file_gives(folder, har, monkeypatch):
    clip = next(folder.rglob("*.avi"))
    _, out, _ = har(clip, "--json")
    for given, code in ((clip.read_bytes(), 0), (b"hello " * 100, 2), (b"", 2)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        found = har("-", "--json")
        assert found[0] == code
        if code:
            assert found[2].startswith("Error: Expected a video at -. Received: ")
            assert found[2].count("\n") == 1
            continue
        one, other = (json.loads(text)["predictions"][0] for text in (out, found[1]))
        assert one["probabilities"] == other["probabilities"]
        assert (one["source"], other["source"]) == (str(clip), "-")


def test_prediction_is_what_evaluate_computes(folder, har, recogniser):
    extraction.extract(folder, small.SHAPE, Path("data/frames.h5"), n_jobs=1)
    with FrameStore(Path("data/frames.h5")) as store:
        clips = store.clips
        network = familiarity.seeing(recogniser.model)
        expected, _ = batches.predict(network, store.read(clips)[0], batch=4)
    code, out, _ = har(folder, "--json")
    assert code == 0
    found = {p["source"]: p["probabilities"] for p in json.loads(out)["predictions"]}
    assert len(found) == 6
    for clip, row in zip(clips, expected, strict=True):
        answer = found[(folder / clip).as_posix()]
        assert list(answer) == small.CLASSES
        assert np.abs(np.array(list(answer.values())) - row).max() < 1e-5
    assert np.std(expected, axis=0).max() > 0.05


def test_a_clip_on_the_screen(folder, har):
    code, out, err = har(folder / "Jump" / "v_0_g00_c01.avi", "--top", 2)
    assert (code, err) == (0, "")
    model, head, first, second = out.splitlines()
    assert model == "lrcn: 3 actions; its card names no data set"
    assert head.endswith("v_0_g00_c01.avi  (0.8 s)")
    shares = [float(line.split()[1].rstrip("%")) for line in (first, second)]
    assert shares[0] >= shares[1]
    assert {line.split()[0] for line in (first, second)} <= set(small.CLASSES)


def test_json_of_a_clip(folder, har):
    path = folder / "Jump" / "v_0_g00_c01.avi"
    code, out, _ = har(path, "--json", "--top", 2)
    answer = json.loads(out)
    assert code == 0
    assert answer["model"] == "lrcn"
    assert answer["classes"] == small.CLASSES
    assert answer["failed"] == []
    (prediction,) = answer["predictions"]
    assert prediction["kind"] == "clip"
    assert prediction["seconds"] == 0.8
    assert len(prediction["top"]) == 2
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert [(s["start"], s["end"]) for s in prediction["segments"]] == [(0, 0.8)]


@pytest.fixture
def long(in_tmp_path, write_video) -> Path:
    """40 s, of which each 10 s are drawn differently."""
    parts = [small.moving(250, seed) for seed in (19, 15, 5, 28)]
    return write_video(in_tmp_path / "long.avi", np.concatenate(parts))


def test_a_timeline_is_the_windows_predicted_one_by_one(long, recogniser, har):
    code, out, _ = har(long, "--json", "--window", 2, "--stride", 0.5, "--top", 3)
    (prediction,) = json.loads(out)["predictions"]
    assert code == 0
    assert prediction["kind"] == "timeline"
    spans = [(w["start"], w["end"]) for w in prediction["windows"]]
    assert spans == [(0.5 * i, 0.5 * i + 2) for i in range(77)]
    _, height, width = recogniser.shape
    frames = np.stack([frame for _, frame in video.timed(long, height, width)])
    assert len(frames) == 1000
    for i, window in enumerate(prediction["windows"]):
        # Half seconds are 12.5 frames: the frames at or after the start, before the end.
        first, end = -(-25 * i // 2), -(-25 * (i + 4) // 2)
        picked = frames[first:end][video.even_indices(end - first, 6)]
        row = recogniser.probabilities(picked[None])[0]
        assert {t["class"]: t["probability"] for t in window["top"]} == pytest.approx(
            dict(zip(small.CLASSES, row, strict=True)), abs=1e-5
        )


def test_over_thirty_seconds_is_a_timeline(long, har):
    assert json.loads(har(long, "--json")[1])["predictions"][0]["kind"] == "timeline"
    assert json.loads(har(long, "--json", "--clip")[1])["predictions"][0]["kind"] == "clip"


def test_files_of_a_timeline_agree(long, har):
    code, out, err = har(
        *[long, "--csv", "a/b.csv", "--srt", "a/b.srt"],
        *["--window", 2],
    )
    assert (code, err) == (0, "")
    with Path("a/b.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["source", "start", "end", "class", "probability"]
    assert float(rows[-1]["end"]) == pytest.approx(40)
    shown = [line.split()[3] for line in out.splitlines()[2:]]
    assert shown == [row["class"] for row in rows]
    known = [row["class"] for row in rows if row["class"] != "unknown"]
    assert Path("a/b.srt").read_text().count("-->") == len(known)
    assert len(known) > 1


def test_the_annotated_video_plays_in_browsers(long, har):
    code, _, err = har(long, "--video", "out/labels.mp4", "--window", 2)
    assert (code, err) == (0, "")
    assert [path.name for path in Path("out").iterdir()] == ["labels.mp4"]
    with av.open("out/labels.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.width % 2 == stream.height % 2 == 0
        frames = [(float(f.time), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    # The index lies before the pictures, so playing starts before all is loaded.
    data = Path("out/labels.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert len(frames) == 1000
    assert [time for time, _ in frames] == pytest.approx([i / 25 for i in range(1000)], abs=2e-3)
    # Letters: white on a darkened strip at the bottom.
    bottom = frames[500][1][-18:]
    assert (bottom.min(axis=2) > 180).sum() > 20


def test_the_annotated_video_of_an_odd_size_and_a_varying_rate(in_tmp_path, har):
    write_av(Path("odd.mkv"), small.moving(8, 3, 30, 45), [0, 40, 80, 500, 540, 580, 2000, 2040])
    code, _, err = har("odd.mkv", "--video", "out.mp4")
    assert (code, err) == (0, "")
    with av.open("out.mp4") as container:
        times = [round(float(f.time), 2) for f in container.decode(video=0)]
    assert times == [0, 0.04, 0.08, 0.5, 0.54, 0.58, 2.0, 2.04]


def write_av(path: Path, frames: np.ndarray, milliseconds: list[int], codec="ffv1") -> Path:
    from fractions import Fraction

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p" if codec != "ffv1" else "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, at in zip(frames, milliseconds, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def test_a_varying_frame_rate_is_heeded(in_tmp_path, coded_frames, read_indices):
    # 25 frames in the first second, 5 in the next.
    times = [40 * i for i in range(25)] + [1000 + 200 * i for i in range(5)]
    write_av(Path("vfr.mkv"), coded_frames(30), times)
    found = list(video.timed(Path("vfr.mkv")))
    assert [t for t, _ in found] == pytest.approx([t / 1000 for t in times], abs=2e-3)
    assert read_indices(np.stack([f for _, f in found])) == list(range(30))


def test_frames_without_times_follow_the_frame_rate(in_tmp_path, write_jpegs, coded_frames):
    write_jpegs(Path("raw.mjpeg"), list(coded_frames(10)))
    times = [t for t, _ in video.timed(Path("raw.mjpeg"))]
    assert len(times) == 10
    assert np.diff(times) == pytest.approx(np.full(9, 1 / 25), abs=2e-3)


def turn(path: Path) -> None:
    """Make an MP4 say: turn me by 90° clockwise (ISO 14496-12, the matrix of `tkhd`)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    height = struct.unpack_from(">I", data, at + 40)[0]
    matrix = (0, 0x10000, 0, -0x10000, 0, 0, height, 0, 0x40000000)
    struct.pack_into(">9i", data, at, *matrix)
    path.write_bytes(data)


def test_a_phone_video_is_seen_upright(in_tmp_path, write_video, recogniser, har):
    frames = small.moving(20, 7)
    plain = write_video(in_tmp_path / "plain.mp4", frames, codec="mp4v")
    lying = write_video(in_tmp_path / "lying.mp4", np.rot90(frames, axes=(1, 2)), codec="mp4v")
    untouched = next(video.timed(lying))[1].shape
    turn(lying)
    upright = [frame for _, frame in video.timed(lying)]
    assert untouched == (72, 48, 3)
    assert upright[0].shape == (48, 72, 3)
    for a, (_, b) in zip(upright, video.timed(plain), strict=True):
        assert np.abs(a.astype(int) - b).mean() < 6
    answers = [predict(recogniser, path, Settings(), "").overall for path in (plain, lying)]
    assert np.abs(answers[0] - answers[1]).max() < 0.2
    code, _, err = har(lying, "--video", "out.mp4")
    assert (code, err) == (0, "")
    with av.open("out.mp4") as container:
        stream = container.streams.video[0]
        assert stream.width > stream.height


def audio_only(path: Path) -> None:
    if path.suffix == ".wav":
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(b"\0\1" * 8000)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        for i in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 8000, i * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


BAD = {
    "text.mp4": (lambda path: path.write_text("Dear diary,\n" * 50), "a text file, not a video"),
    "empty.mp4": (lambda path: path.write_bytes(b""), "empty file"),
    "noise.mp4": (
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
        "not a video that FFmpeg reads",
    ),
    "sound.mp4": (audio_only, "not a video that FFmpeg reads"),
    "sound.wav": (audio_only, "a sound file, not a video"),
    "picture.png": (lambda p: cv2.imwrite(str(p), np.zeros((9, 9, 3))), "a picture, not a video"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("how", [(), ("--timeline",), ("--json",)])
def test_bad_files_are_one_line(in_tmp_path, har, name, how):
    make, reason = BAD[name]
    make(Path(name))
    code, out, err = har(name, *how)
    assert code == 2
    assert err == (
        f"Error: Expected a video at {name}. Received: {reason}. "
        "Convert it to MP4 (H.264), or name another file.\n"
    )
    if how == ("--json",):
        assert json.loads(out)["failed"] == [{"source": name, "reason": reason}]
    else:
        assert out == ""


def test_a_truncated_video_gives_what_decodes(in_tmp_path, write_video, cut, har):
    write_video(Path("cut.avi"), small.moving(100, 1))
    cut(Path("cut.avi"), 0.5)
    code, out, _ = har("cut.avi", "--json")
    assert code == 0
    assert 1.5 < json.loads(out)["predictions"][0]["seconds"] < 2.5
    code, out, _ = har("cut.avi", "--json", "--timeline", "--window", 1, "--stride", 1)
    assert 1.5 < json.loads(out)["predictions"][0]["seconds"] < 2.5


def test_a_truncated_mp4_has_no_index(in_tmp_path, write_video, har):
    path = write_video(Path("cut.mp4"), small.moving(50, 1), codec="mp4v")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, _, err = har("cut.mp4")
    assert code == 2
    assert err.count("\n") == 1


def test_one_frame(in_tmp_path, write_video, har):
    write_video(Path("one.avi"), small.moving(1, 1))
    for how in ("--clip", "--timeline"):
        code, out, err = har("one.avi", "--json", how)
        assert (code, err) == (0, "")
        assert len(json.loads(out)["predictions"]) == 1


def test_names_with_colons(in_tmp_path, write_video, har):
    # FFmpeg takes what stands before the colon of a relative name for a protocol.
    name = "2024-05-01T10:30:00.mp4"
    write_video(in_tmp_path / name, small.moving(10, 1), codec="mp4v")
    code, out, err = har(name, "--video", "10:30.mp4", "--csv", "10:30.csv")
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == f"{name}  (0.4 s)"
    with av.open("file:10:30.mp4") as container:
        assert len(list(container.decode(video=0))) == 10


def test_a_name_that_is_not_utf8_loses_no_other_answer(folder, har):
    source = folder / "Jump" / "v_0_g00_c01.avi"
    (folder / "Jump" / os.fsdecode(b"\xff.avi")).write_bytes(source.read_bytes())
    code, out, err = har(folder, "--json", "--csv", "all.csv")
    assert code == 0
    answer = json.loads(out)
    assert len(answer["predictions"]) == 6
    (failed,) = answer["failed"]
    assert failed["source"] == f"{folder.as_posix()}/Jump/\\xff.avi"
    assert "not UTF-8" in failed["reason"]
    assert "\\xff.avi" in err
    code, out, err = har(folder / "Jump" / os.fsdecode(b"\xff.avi"))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_a_terminal_that_lacks_signs(folder, model, run_python):
    (folder / "Jump" / "跳.avi").write_bytes((folder / "Jump" / "v_0_g00_c01.avi").read_bytes())
    code = (
        "import sys; sys.stdout.reconfigure(encoding='cp1252');"
        "sys.argv = ['har', 'predict', *sys.argv[1:]]; from har.cli import main; main()"
    )
    path = folder / "Jump" / "跳.avi"
    process = run_python(code, path, "--model", model, cwd=folder)
    assert (process.returncode, process.stderr) == (0, "")
    assert "\\u8df3.avi  (0.8 s)" in process.stdout
    assert "%  #" in process.stdout


def test_a_background_is_unknown(in_tmp_path, write_video, recogniser, monkeypatch, capsys):
    path = write_video(in_tmp_path / "clip.avi", small.moving(20, 1))
    best = recogniser.predict(path).overall.argmax()
    classes = [*"abc"]
    classes[best] = "_background"
    folder = small.save(recogniser.model, in_tmp_path / "lrcn", classes=classes)
    words = ["har", "predict", str(path), "--model", str(folder), "--json", "--srt", "x.srt"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        cli.main()
    (prediction,) = json.loads(capsys.readouterr().out)["predictions"]
    assert prediction["segments"][0]["class"] == "unknown"
    assert prediction["top"][0]["class"] == "unknown"
    assert Path("x.srt").read_text() == ""


def test_4k(in_tmp_path, write_video, recogniser, har):
    path = write_video(Path("4k.avi"), small.moving(5, 1, 2160, 3840 // 9 * 9))
    code, _, err = har(path, "--video", "out.mp4")
    assert (code, err) == (0, "")
    with av.open("out.mp4") as container:
        assert max(container.streams.video[0].width, container.streams.video[0].height) == 1920


def test_a_folder_with_bad_files_names_them_and_goes_on(folder, har):
    (folder / "Jump" / "notes.txt").write_text("who jumped when\n")
    (folder / ".hidden").write_bytes(b"")
    code, out, err = har(folder)
    assert code == 0
    about, *heads, counts = [line for line in out.splitlines() if not line.startswith(" ")]
    assert about.startswith("lrcn: 3 actions")
    assert len(heads) == 6
    assert counts.startswith("6 videos: ")
    assert sum(int(part.split()[0]) for part in counts.split(": ")[1].split(", ")) == 6
    assert err.strip() == (
        f"Not recognised: {(folder / 'Jump/notes.txt').as_posix()}: a text file, not a video"
    )


def test_a_linked_folder_does_not_stand_between_the_lines_of_json(folder, har):
    (folder / "more").symlink_to(folder / "Jump")
    code, out, err = har(folder, "--json")
    assert (code, err) == (0, "")
    sources = [p["source"] for p in json.loads(out)["predictions"]]
    assert any("/more/" in source for source in sources)


def test_a_pipe_is_refused_and_not_waited_for(in_tmp_path, har):
    os.mkfifo("pipe")
    code, _, err = har("pipe")
    assert code == 2
    assert "pipe cannot be read (Not a directory)" in err


def test_several_sources_of_which_one_is_bad(folder, har):
    good = folder / "Jump" / "v_0_g00_c01.avi"
    code, out, err = har(good, "nowhere.avi", "--json")
    assert code == 2
    answer = json.loads(out)
    assert [p["source"] for p in answer["predictions"]] == [good.as_posix()]
    assert "nowhere.avi" in err
    assert "no such file" in err
    assert "Traceback" not in err


def test_json_of_what_is_not_there(in_tmp_path, har):
    code, out, err = har("nowhere.mp4", "--json")
    answer = json.loads(out)
    assert code == 2
    assert answer["predictions"] == []
    assert [failed["source"] for failed in answer["failed"]] == ["nowhere.mp4"]
    assert "no such file" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.mp4"], "There is no video at nowhere.mp4: no such file or directory."),
        (["empty"], "The folder empty holds no file."),
        (["camera:first"], "Expected a camera as camera:0"),
        (["camera:0", "a.avi"], "Expected a camera by itself."),
        (["a.avi", "b.avi", "--srt", "x.srt"], "Expected one video for --srt."),
        (["empty", "--video", "x.mp4"], "Expected one video for --video."),
        (["a.avi", "--video", "x.avi"], "Expected a file name that ends with .mp4."),
        (["ftp://example.org/a.avi"], "Expected an address that begins with http:// or https://."),
        (["file:///etc/passwd"], "Expected an address that begins with http:// or https://."),
    ],
)
def test_mistakes_are_one_line(in_tmp_path, har, arguments, says):
    Path("empty").mkdir()
    code, out, err = har(*arguments)
    assert code == 2
    assert out == ""
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--top", "0"],
        ["--window", "0"],
        ["--stride", "x"],
    ],
)
def test_impossible_options(in_tmp_path, har, arguments):
    code, _, err = har("a.avi", *arguments)
    assert code == 2
    assert arguments[0] in err


@pytest.mark.parametrize("option", ["--csv", "--srt", "--video"])
def test_no_output_replaces_the_video_or_a_folder(folder, har, option):
    path = folder / "a.mp4"
    (folder / "Jump" / "v_0_g00_c01.avi").rename(path)
    bytes_ = path.read_bytes()
    (folder / "b.mp4").mkdir()
    (folder / "c.mp4").write_text("a file")
    for output, says in [
        (folder / "Jump" / ".." / "a.mp4", "the video itself"),
        (folder / "b.mp4", "a folder"),
        (folder / "c.mp4" / "out.mp4", "a place that cannot be written to"),
    ]:
        code, out, err = har(path, option, output)
        assert (code, out) == (2, "")
        assert says in err
        assert err.count("\n") == 1
    assert path.read_bytes() == bytes_


def test_without_pyav(in_tmp_path, har, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, err = har("a.avi", "--video", "out.mp4")
    assert code == 2
    assert 'pip install "har-lab[video]"' in err


def test_an_annotated_video_that_breaks_off_leaves_nothing(in_tmp_path):
    from har.predictor.annotation import AnnotatedVideo

    with pytest.raises(RuntimeError), AnnotatedVideo(Path("out.mp4")) as written:
        written.write(0.0, np.zeros((48, 64, 3), np.uint8), "Jump", 0.5)
        raise RuntimeError
    assert list(Path().iterdir()) == []


def test_two_hours_take_the_memory_of_two_minutes(in_tmp_path, write_video, model, run_python):
    frames = small.moving(50, 1)
    lengths = {"minutes.avi": 120, "hours.avi": 7200}
    for name, seconds in lengths.items():
        write_video(Path(name), np.concatenate([frames] * (seconds // 50 + 1)), fps=1)
    # One process for both: its peak never falls, so the second video's is what it adds.
    code = """
import resource, sys
from har import cli
options = sys.argv[1:]
for name in ("minutes.avi", "hours.avi"):
    sys.argv = ["har", "predict", name, *options]
    try:
        cli.main()
    except SystemExit as left:
        assert not left.code
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""
    options = ("--model", model, "--json", "--window", 30, "--stride", 10, "--top", 1)
    process = run_python(code, *options, cwd=in_tmp_path)
    assert process.returncode == 0, process.stderr
    peaks = [int(line) / 1024 for line in process.stderr.split()]
    decoder = json.JSONDecoder()
    answers = process.stdout
    for seconds in lengths.values():
        answer, end = decoder.raw_decode(answers)
        answers = answers[end:].lstrip()
        assert answer["predictions"][0]["seconds"] >= seconds
    # All 7,200 frames would be 71 MB as they are, and 8 MB as the network sees them.
    assert peaks[1] - peaks[0] < 40
