"""Pictures of the comparison, drawn as `har.plots` draws: without a display, the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from har.plots import plain_text, save, subplots

_COLOURS = {"group": "#1f5c99", "official": "#2e7d32", "random": "#d98c2b"}


@plain_text
def accuracies(
    path: Path, table: Mapping[str, Mapping[str, Any]], protocols: Sequence[str], chance: float
) -> None:
    """Draw each approach's accuracy and interval, the best of the first protocol at the top."""
    names = sorted(table, key=lambda name: table[name][protocols[0]]["accuracy"])
    figure, axes = subplots((7.5, 1.2 + 0.45 * len(names)))
    for i, protocol in enumerate(protocols):
        ends = ("accuracy_low", "accuracy", "accuracy_high")
        low, middle, high = np.array([[table[n][protocol][end] for n in names] for end in ends])
        places = np.arange(len(names)) + 0.15 * ((len(protocols) - 1) / 2 - i)
        reach = np.maximum([middle - low, high - middle], 0)
        look = {"fmt": "o", "capsize": 3, "color": _COLOURS[protocol], "label": protocol}
        axes.errorbar(middle, places, xerr=reach, **look)
    axes.axvline(chance, color="grey", linestyle=":", label="chance")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=(0, 1.02), xlabel="Test accuracy, 95 % interval over groups")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(protocols) + 1)
    save(figure, path)


@plain_text
def shares(path: Path, rows: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Draw each approach's shares of clips that it recognised, by class or by kind of clip."""
    names = list(rows)
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    values = np.array([[rows[name].get(c, np.nan) for c in columns] for name in names])
    figure, axes = subplots((2.5 + 0.5 * len(columns), 1.8 + 0.4 * len(names)))
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    if len(columns) <= 12:
        for i, j in np.ndindex(*values.shape):
            look = {"color": "black" if values[i, j] > 0.6 else "white", "fontsize": 8}
            axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", **look)
    turned = {"rotation": 90} if len(columns) > 12 else {"rotation": 45, "ha": "right"}
    axes.set_xticks(range(len(columns)), columns, **turned)
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8)
    save(figure, path)
