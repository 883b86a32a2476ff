"""Pictures of the comparison, drawn as `har.plots` draws: without a display, the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker

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
def front(
    path: Path, points: Mapping[str, tuple[float, float]], best: Sequence[str], protocol: str
) -> None:
    """Draw accuracy over latency (ms), and the Pareto front `best`, the fastest first."""
    figure, axes = subplots((7.5, 4.8))
    steps = [points[name] for name in best]
    axes.step(*zip(*steps, strict=True), where="post", color="#1f5c99", alpha=0.6, label="front")
    above: list[tuple[float, float]] = []
    for name, (latency, accuracy) in sorted(points.items(), key=lambda item: item[1]):
        on_front = name in best
        axes.plot(latency, accuracy, "o", color="#1f5c99" if on_front else "grey")
        # A name beside another one's place is written below it.
        crowded = any(latency < 1.5 * x and abs(accuracy - y) < 0.04 for x, y in above)
        look = {"textcoords": "offset points", "fontsize": 8}
        axes.annotate(name, (latency, accuracy), (4, -11 if crowded else 4), **look)
        if not crowded:
            above.append((latency, accuracy))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(x=0.2, y=0.1)  # room for the names
    axes.set_xlabel("Latency of one clip at batch 1 on this machine (ms)")
    axes.set_ylabel(f"Test accuracy, {protocol} folds")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right")
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
