"""The `har` command."""

import json
from pathlib import Path

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
    except FileNotFoundError:
        raise UserError(
            f"Expected test figures at {path}. Received: no such file. Run `dvc repro` first."
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
    chance = next(iter(figures.values()))["chance"]
    print(f"Chance is {chance:.3f}. Figures: {path}")
    for picture in sorted(metrics.glob("*/*.png")):
        print(f"  {picture.as_posix()}")
