"""The `har` command."""

import json
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
    """Draw a contact sheet: random classes, a random clip of each, its frames."""
    import numpy as np

    from har import plots
    from har.store import FrameStore

    rng = np.random.default_rng(seed)
    with FrameStore(Path("data/frames.h5")) as store:
        chosen = rng.permutation(len(store.classes))[:classes]
        clips = [
            store.clips[rng.choice(np.flatnonzero(store.labels == label))]
            for label in sorted(chosen)
        ]
        rows = list(zip(clips, store.read(clips)[0], strict=True))
        title = f"{len(rows)} of {len(store.classes)} classes"
    plots.contact_sheet(output, rows, title)
    print(output)
