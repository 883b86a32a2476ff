"""Figures people look at, drawn without a display and with the same bytes every time."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np


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
    save(figure, path)


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
        axes.plot(epochs, [float(row[name]) for row in history], marker=".", label="training")
        axes.plot(
            epochs,
            [float(row[f"val_{name}"]) for row in history],
            marker=".",
            label="validation",
        )
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"best epoch, {best_epoch}")
        axes.set_xlabel("Epoch")
        axes.set_ylabel(name.capitalize() if name == "accuracy" else "Cross-entropy (nats)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    both[1].set_ylim(0, 1.02)
    both[0].legend()
    figure.suptitle(title)
    save(figure, path)


def contact_sheet(
    path: Path, rows: Sequence[tuple[str, np.ndarray]], title: str, n_frames: int = 8
) -> None:
    """Draw a row a clip: its caption above frames picked evenly.

    Args:
        path: PNG to write.
        rows: caption and frames, uint8 (T, H, W, 3) RGB, of each clip; may be empty.
        title: above the picture.
        n_frames: frames shown of a clip.
    """
    strips = [contact_strip(frames, n_frames) for _, frames in rows]
    height, width = rows[0][1].shape[1:3] if rows else (8, 16)
    width *= n_frames
    step = height + height // 4  # room for the caption
    canvas = np.full((max(len(rows), 1) * step, width, 3), 255, np.uint8)
    figure, axes = plt.subplots(figsize=(9, 0.4 + 9 * len(canvas) / width), layout="constrained")
    axes.axis("off")
    axes.set_title(title, fontsize=11)
    for i, strip in enumerate(strips):
        top = (i + 1) * step - height
        canvas[top : top + height, : strip.shape[1]] = strip
        axes.text(0, top - height // 20, rows[i][0], fontsize=8, va="bottom")
    axes.imshow(canvas, interpolation="nearest")
    save(figure, path)


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


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, dpi=120, format="png")
    plt.close(figure)
    part.replace(path)
