"""Pictures, drawn without a display; the same data give the same bytes."""

import functools
import io
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from har import files

MANY = 60  # classes from which a cell is too small for a number
LISTED = 30  # confusions then, by how often they happen
# Class names are text: a `$` in them is no mathematics.
plain_text = matplotlib.rc_context({"text.parse_math": False})


def subplots(size: tuple[float, float], columns: int = 1) -> tuple[Figure, Any]:
    """Return a figure of `size` (width and height in inches) and its axes, side by side."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(1, columns)


@plain_text
def confusion(path: Path, counts: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Draw counts, int (C, C), true classes in rows.

    From `MANY` classes on there are no numbers and names, but a list of the commonest confusions.
    """
    C = len(classes)
    side = 2.5 + 0.45 * min(C, MANY / 2)
    figure, axes = subplots((side + (0.6 if C < MANY else 6), side))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if C < MANY:
        size = 9 if C <= MANY / 2 else 6
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = "white" if share[i, j] > 0.55 else "black"
            axes.text(j, i, counts[i, j], ha="center", va="center", color=colour, fontsize=size)
        turned = {"rotation": 90, "ha": "center"} if C > 12 else {"rotation": 45, "ha": "right"}
        axes.set_xticks(range(C), classes, **turned)
        axes.set_yticks(range(C), classes)
    else:
        wrong = np.where(np.eye(C, dtype=bool), 0, counts)
        worst = np.argsort(-wrong, axis=None, kind="stable")[: min(LISTED, (wrong > 0).sum())]
        lines = [f"Commonest confusions: {wrong.sum()} of {counts.sum()} clips are wrong"]
        for i, j in zip(*np.unravel_index(worst, wrong.shape), strict=True):
            lines.append(f"{wrong[i, j]} of {counts[i].sum()}   {classes[i]} as {classes[j]}")
        axes.annotate("\n".join(lines), (1.02, 1), xycoords="axes fraction", va="top", fontsize=14)
    axes.set(xlabel="Predicted class", ylabel="True class", title=title)
    place = "right" if C < MANY else "bottom"
    figure.colorbar(image, ax=axes, location=place, shrink=0.7, label="Share of the true class")
    save(figure, path)


@plain_text
def curves(path: Path, history: Sequence[Mapping[str, Any]], best_epoch: int, title: str) -> None:
    """Draw loss and accuracy over the epochs (rows of history.csv), training and validation."""
    figure, both = subplots((9, 3.6), 2)
    epochs = [int(row["epoch"]) for row in history]
    for axes, name in zip(both, ("loss", "accuracy"), strict=True):
        for label, key in (("training", name), ("validation", f"val_{name}")):
            axes.plot(epochs, [float(row[key]) for row in history], marker=".", label=label)
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"best epoch, {best_epoch}")
        axes.set_xlabel("Epoch")
        axes.set_ylabel(name.capitalize() if name == "accuracy" else "Cross-entropy (nats)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    both[1].set_ylim(0, 1.02)
    both[0].legend()
    figure.suptitle(title)
    save(figure, path)


@plain_text
def contact_sheet(
    path: Path, rows: Sequence[tuple[str, np.ndarray]], title: str, n_frames: int = 8
) -> None:
    """Draw a row a clip: its caption above `n_frames` of its frames, uint8 (T, H, W, 3) RGB."""
    strips = [contact_strip(frames, n_frames) for _, frames in rows]
    height, width = rows[0][1].shape[1:3] if rows else (8, 16)
    width *= n_frames
    step = height + height // 4  # room for the caption
    canvas = np.full((max(len(rows), 1) * step, width, 3), 255, np.uint8)
    figure, axes = subplots((9, 0.4 + 9 * len(canvas) / width))
    axes.axis("off")
    axes.set_title(title, fontsize=11)
    for i, strip in enumerate(strips):
        top = (i + 1) * step - height
        canvas[top : top + height, : strip.shape[1]] = strip
        axes.text(0, top - height // 20, rows[i][0], fontsize=8, va="bottom")
    axes.imshow(canvas, interpolation="nearest")
    save(figure, path)


def contact_strip(frames: np.ndarray, n_frames: int) -> np.ndarray:
    """Lay frames of uint8 (T, H, W, 3), evenly picked, side by side: (H, W·min(T, n), 3)."""
    picked = np.linspace(0, len(frames) - 1, min(n_frames, len(frames))).round().astype(int)
    return np.concatenate(list(frames[picked]), axis=1)


@functools.cache
def font_of(text: str) -> str:
    """Return the file of DejaVu Sans, or of an installed font with characters that it lacks.

    A line on standard error names those that no font has.
    """
    best = font_manager.findfont("DejaVu Sans")
    absent = set(text) - _characters(best) - {"\n"}
    if absent:
        found = sorted(font_manager.findSystemFonts(), key=lambda f: ("Regular" not in f, f))
        best = max([best, *found], key=lambda file: len(absent & _characters(file)))
    if absent := absent - _characters(best):
        said = f"No installed font has {''.join(sorted(absent))}. Boxes stand for them."
        print(said, "Install such a font, as Noto Sans CJK.", file=sys.stderr)
    return best


def _characters(font: str) -> set[str]:
    try:
        return set(map(chr, FT2Font(font).get_charmap()))
    except (OSError, RuntimeError):  # no outlines, or damaged
        return set()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    png = io.BytesIO()
    texts = figure.findobj(Text)
    font = font_of("".join(sorted({sign for text in texts for sign in text.get_text()})))
    font_manager.fontManager.addfont(font)
    for text in texts:
        text.set_fontfamily(["DejaVu Sans", FT2Font(font).family_name])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # `font_of` has said it
        figure.savefig(png, dpi=120, format="png")
    files.write_bytes(path, png.getvalue())
