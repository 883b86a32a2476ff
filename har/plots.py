"""Figures people look at, drawn without a display and with the same bytes every time."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np


class Mistake(NamedTuple):
    """A clip that was recognised wrongly.

    Attributes:
        clip: its path.
        frames: uint8 (T, H, W, 3) RGB.
        truth: its class.
        prediction: the class it was taken for.
        confidence: of the prediction, in [0, 1].
    """

    clip: str
    frames: np.ndarray
    truth: str
    prediction: str
    confidence: float


def confusion(path: Path, counts: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Draw a confusion matrix.

    Args:
        path: PNG to write.
        counts: int (C, C), rows are the true classes, columns the predicted ones.
        classes: C names.
        title: above the picture.
    """
    C = len(classes)
    side = 2.5 + 0.45 * C
    figure, axes = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(counts), strict=True):
        colour = "white" if share[i, j] > 0.55 else "black"
        axes.text(j, i, counts[i, j], ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(
        range(C), classes, rotation=90 if C > 12 else 45, ha="center" if C > 12 else "right"
    )
    axes.set_yticks(range(C), classes)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.set_title(title)
    figure.colorbar(image, ax=axes, shrink=0.7, label="Share of the true class")
    _save(figure, path)


def curves(path: Path, history: Sequence[dict[str, str]], best_epoch: int, title: str) -> None:
    """Draw loss and accuracy over the epochs, training beside validation.

    Args:
        path: PNG to write.
        history: rows of history.csv.
        best_epoch: marked, from 1.
        title: above the picture.
    """
    figure, both = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    epochs = [int(row["epoch"]) for row in history]
    for axes, name in zip(both, ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [float(row[name]) for row in history], label="training")
        axes.plot(epochs, [float(row[f"val_{name}"]) for row in history], label="validation groups")
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"best epoch, {best_epoch}")
        axes.set_xlabel("Epoch")
        axes.set_ylabel(name.capitalize() if name == "accuracy" else "Cross-entropy (nats)")
        axes.grid(alpha=0.3)
    both[1].set_ylim(0, 1.02)
    both[0].legend()
    figure.suptitle(title)
    _save(figure, path)


def mistakes(path: Path, sheet: Sequence[Mistake], title: str, n_frames: int = 8) -> None:
    """Draw the clips that were most confidently wrong, a row each.

    Args:
        path: PNG to write.
        sheet: the clips, the worst first; may be empty.
        title: above the picture.
        n_frames: frames shown of a clip.
    """
    rows = max(len(sheet), 1)
    figure, axes = plt.subplots(figsize=(9, 0.6 + 1.45 * rows), layout="constrained")
    axes.axis("off")
    axes.set_title(title)
    if not sheet:
        axes.text(0.5, 0.5, "No clip was recognised wrongly.", ha="center", va="center")
    else:
        strips = [contact_strip(mistake.frames, n_frames) for mistake in sheet]
        height, width = strips[0].shape[:2]
        caption = height // 4
        canvas = np.full((rows * (height + caption), width, 3), 255, np.uint8)
        for i, strip in enumerate(strips):
            top = i * (height + caption) + caption
            canvas[top : top + height] = strip
        axes.imshow(canvas, interpolation="nearest")
        for i, m in enumerate(sheet):
            axes.text(
                0,
                i * (height + caption) + caption * 0.85,
                f"{m.truth}, taken for {m.prediction} ({m.confidence:.0%}): {m.clip}",
                fontsize=8,
                va="bottom",
            )
    _save(figure, path)


def contact_strip(frames: np.ndarray, n_frames: int) -> np.ndarray:
    """Lay `n_frames` of a clip's frames, evenly picked, side by side.

    Args:
        frames: uint8 (T, H, W, 3).
        n_frames: frames to show; all where the clip has fewer.

    Returns:
        uint8 (H, min(T, n_frames)·W, 3).
    """
    picked = np.linspace(0, len(frames) - 1, min(n_frames, len(frames))).round().astype(int)
    return np.concatenate(list(frames[picked]), axis=1)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, dpi=120, format="png")
    plt.close(figure)
    part.replace(path)
