"""The `har` command."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from har.errors import UserError, fail

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Human action recognition: see what the pipeline made.",
)


def main() -> None:
    """Run `har` and leave the process; exit code 2 after a user's mistake."""
    try:
        app()
    except UserError as error:
        raise SystemExit(fail(error)) from None


@app.callback()
def _commands() -> None:
    """Keep Typer from merging a single command into `har` itself."""


@app.command()
def results(metrics: Path = Path("metrics")) -> None:
    """Show the test figures of the last run, and where its pictures are."""
    path = metrics / "metrics.json"
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        chance = next(iter(figures.values()))["chance"]
    except (OSError, ValueError, StopIteration, KeyError):
        found = "another content" if path.exists() else "no such file"
        raise UserError(
            f"Expected test figures at {path}. Received: {found}. Run `dvc repro` first."
        ) from None
    print(
        f"{'':10}{'accuracy':>9}  {'95 % interval':14}{'macro F1':>9}{'clips':>7}"
        f"{'groups':>8}{'parameters':>12}{'latency':>10}"
    )
    for approach, row in figures.items():
        print(
            f"{approach:10}{row['accuracy']:9.3f}  {row['accuracy_low']:.3f} to "
            f"{row['accuracy_high']:.3f}{row['macro_f1']:9.3f}{row['n_test']:7}"
            f"{row['n_groups']:8}{row['parameters']:12,}{row['latency_ms']:7.1f} ms"
        )
    print(f"Chance is {chance:.3f}. Figures: {path}")
    for picture in sorted(metrics.glob("*/*.png")):
        print(f"  {picture.as_posix()}")


@app.command()
def preview(
    classes: Annotated[int, typer.Option(min=1, help="How many classes, drawn at random.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Draw other classes and clips.")] = 0,
    output: Annotated[Path, typer.Option(help="The picture to write.")] = Path("preview.png"),
) -> None:
    """Show the data set: a table of its classes, clips that leak, and a sheet of random clips."""
    from har.clips import preview

    for line in preview.report(Path("data"), Path("params.yaml")):
        print(line)
    preview.contact_sheet(Path("data/frames.h5"), output, classes, seed)
    print(output)


@app.command()
def clean(
    parts: Annotated[
        list[str] | None, typer.Argument(help="Folders of .work, as extract; all if none.")
    ] = None,
) -> None:
    """Remove work in progress, .work/: frames kept for the next run, half downloads, back-ups."""
    from har import files

    freed = files.clean(parts or [])
    for name, size in freed.items():
        print(f"{name:16}{size / 1e6:12,.1f} MB")
    print(f"{'freed':16}{sum(freed.values()) / 1e6:12,.1f} MB")


@app.command()
def remote(
    url: Annotated[str, typer.Argument(help="s3://…, ssh://…, gs://… or a folder.")],
    endpoint: Annotated[str | None, typer.Option(help="An S3 server's own address.")] = None,
) -> None:
    """Name the storage that results are pushed to and pulled from."""
    from har.sharing import storage

    print(f"Results are kept at {storage.set_up(url, endpoint)}. Commit .dvc/config.")


@app.command()
def pull(
    jobs: Annotated[int | None, typer.Option(min=1, help="Files at a time.")] = None,
    force: Annotated[bool, typer.Option(help="Replace outputs changed by hand.")] = False,
) -> None:
    """Bring the results of this commit instead of computing them."""
    from har.sharing import storage

    print(storage.pull(jobs, force))


@app.command()
def push(
    renew: Annotated[bool, typer.Option(help="Send again what the remote has.")] = False,
    clips: Annotated[bool, typer.Option(help="Send the clips of UCF50 or UCF101 too.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Files at a time.")] = None,
    outputs: Annotated[list[str] | None, typer.Argument(help="With --renew: only these.")] = None,
) -> None:
    """Send the results of this commit to the remote storage."""
    from har.sharing import storage

    if outputs and not renew:
        raise UserError(
            f"Expected no names without --renew. Received: {', '.join(outputs)}. "
            "Run `har push` to send everything."
        )
    print(storage.push(jobs, clips, tuple(outputs or ()) if renew else None))


@app.command()
def report(
    base: Annotated[str, typer.Option(help="The commit or branch to compare with.")] = "main",
    folder: Annotated[
        Path | None, typer.Option(help="Write report.md, report.html and pictures here.")
    ] = None,
    pictures_url: Annotated[
        str | None, typer.Option(help="Where the pictures of report.md will be.")
    ] = None,
) -> None:
    """Tell what this change does to the figures, as the page of a pull request."""
    from har.sharing import pull_request

    comparison = pull_request.compare(base, folder)
    if folder is None:
        print(pull_request.markdown(comparison, pictures_url), end="")
    else:
        print(pull_request.write(comparison, folder, pictures_url))


@app.command()
def resolve() -> None:
    """After a merge with a conflict in dvc.lock: mend it and run what is left."""
    from har.sharing import lock_merge, storage

    again = lock_merge.resolve()
    print(f"dvc.lock is merged; run by both sides, so to run again: {', '.join(again) or 'none'}.")
    lock_merge.rerun(pull=storage.has_remote())
    print("Done. Look at `har results`, then `git commit`.")


@app.command()
def watch(
    once: Annotated[bool, typer.Option(help="Show the curves as they are and leave.")] = False,
    tensorboard: Annotated[
        bool, typer.Option(help="Write .work/tensorboard too, for `tensorboard --logdir` of it.")
    ] = False,
) -> None:
    """Draw the curves of the training that runs in another terminal, epoch by epoch."""
    import shutil

    from har.training import watch

    events = watch.EventFiles() if tensorboard else None
    pictures = watch.frames(shutil.get_terminal_size().columns, interval_sec=1.0)
    try:
        for picture in pictures:
            if events:
                events.update(watch.trainings())
            clear = "" if once else "\x1b[2J\x1b[H"
            print(f"{clear}{picture or 'No training yet: run `dvc repro`.'}", flush=True)
            if once:
                return
    except KeyboardInterrupt:
        return


@app.command()
def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, folders, addresses (http://…, needs har[youtube] for pages) or camera:0.",
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of the model; the best by metrics.json if not given."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show of a clip.")] = 5,
    timeline: Annotated[
        bool | None,
        typer.Option(
            "--timeline/--clip",
            help="Answers along the video, or one of it all; by default over 30 s is a timeline.",
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Seconds of video behind an answer; else as the clips it learnt."
        ),
    ] = None,
    stride: Annotated[
        float | None,
        typer.Option(
            min=0.02, help="Seconds between answers; a quarter of the window if not given."
        ),
    ] = None,
    smooth: Annotated[int, typer.Option(min=1, help="Average so many of the last answers.")] = 3,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Below this probability: unknown.")
    ] = 0.5,
    hysteresis: Annotated[
        float, typer.Option(min=0, max=1, help="A label changes for one that is better by this.")
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the segments as CSV.")] = None,
    srt: Annotated[Path | None, typer.Option(help="Write subtitles, SubRip.")] = None,
    vtt: Annotated[Path | None, typer.Option(help="Write subtitles, WebVTT.")] = None,
    video: Annotated[
        Path | None, typer.Option(help="Write the video with labels, MP4 (needs har[video]).")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop a camera after this time, not by Ctrl-C.")
    ] = None,
    max_mb: Annotated[float, typer.Option(min=0.1, help="Of a download.")] = 500,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Of a downloaded video.")] = 150,
) -> None:
    """Recognise what happens in videos: a clip's likeliest classes, a long video's timeline."""
    from har.predictor import sources as source_kinds
    from har.predictor.prediction import CLIP, TIMELINE, Settings
    from har.predictor.session import Outputs, Session
    from har.predictor.sources import Camera
    from har.predictor.timeline import Smoothing
    from har.predictor.web_video import Bounds

    outputs = Outputs(top, as_json, csv, srt, vtt, video)
    outputs.check(sources)
    cameras = [source_kinds.camera_of(name) for name in sources]
    if any(camera is not None for camera in cameras) and len(sources) > 1:
        raise UserError(
            f"Expected a camera by itself. Received: {', '.join(sources)}. "
            "Run `har predict` once for the camera and once for the rest."
        )
    if timeline is None and (window or stride):
        timeline = True
    settings = Settings(
        kind={None: None, True: TIMELINE, False: CLIP}[timeline],
        window=window,
        stride=stride,
        smoothing=Smoothing(smooth, threshold, hysteresis),
    )
    # What is not there is said before the model loads, which takes some seconds.
    camera = None if cameras[0] is None else Camera(cameras[0])
    # With JSON it stands under `failed`, as what is wrong with a file does.
    if camera is None and len(sources) == 1 and not as_json:
        source_kinds.files_of(sources[0])
    session = Session(_open_recogniser(model), settings, outputs, Bounds(max_mb, max_minutes))
    if camera:
        session.watch(camera, seconds)
    else:
        session.run(sources)


def _open_recogniser(folder: Path | None):
    """Load the model that is named, or else the best one."""
    from har.predictor.recogniser import Recogniser, best_model

    return Recogniser.open(folder or best_model(Path("metrics/metrics.json"), Path("models")))


class Format(StrEnum):
    """What a network can be exported to."""

    ONNX = "onnx"
    LITERT = "litert"
    SAVED_MODEL = "savedmodel"


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="Folder of the model: models/lrcn, say.")],
    to: Annotated[Format, typer.Option(help="The format (needs har[export]).")],
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit whole numbers, calibrated on training clips.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="File or folder to write; exports/… if not given.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder of frames.h5 and split.csv.")] = Path("data"),
) -> None:
    """Write a model for ONNX Runtime, LiteRT or TensorFlow, checked against the original."""
    from har.export import convert as exporting
    from har.predictor.recogniser import Recogniser

    exporting.check(to.value, int8=int8)
    output = output or exporting.default_output(model, to.value, int8=int8)
    exporting.check_output(to.value, output)
    recogniser = Recogniser.open(model)
    clips = exporting.read_clips(recogniser, data)
    report = exporting.export(recogniser, model, to.value, clips, output, int8=int8)
    print(
        f"{report.output}: largest difference {report.difference:.1e} on {report.n_checked} clips\n"
        f"{'':10}{'exported':>12}{'original':>12}"
    )
    rows = [
        ("accuracy", "{:.3f}", report.accuracy),
        ("size", "{:.2f} MB", report.megabytes),
        ("latency", "{:.2f} ms", report.milliseconds),
    ]
    for name, form, (exported, original) in rows:
        print(f"{name:10}{form.format(exported):>12}{form.format(original):>12}")
    if int8:
        kinds = ", ".join(report.floats) or "none"
        print(f"in floats {len(report.floats)} of {report.n_operations} operations: {kinds}")


@app.command()
def serve(
    models: Annotated[Path, typer.Option(help="Folder of the models.")] = Path("models"),
    metrics: Annotated[Path, typer.Option(help="Test figures.")] = Path("metrics/metrics.json"),
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    max_mb: Annotated[float, typer.Option(min=1, help="Of an upload or a download.")] = 100,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Of a video.")] = 5,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Others reach it through a proxy on this machine: fetch nothing from inside.",
        ),
    ] = False,
) -> None:
    """Open a page that recognises uploads, addresses and the camera (needs har[app])."""
    from har.app import server
    from har.app.limits import Limits, is_public

    limits = Limits(max_mb, max_minutes, public=public or is_public(host))
    server.run(models, metrics, host, port, limits)
