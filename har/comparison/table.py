"""Trials to one table: pure functions of predictions, and the table as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from har.errors import UserError
from har.evaluation import metrics
from har.evaluation.predictions import Predictions


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Put the predictions of folds and seeds together; their classes must be the same."""
    if len({tuple(part.classes) for part in parts}) > 1:
        raise UserError("The trials are of different classes. Run `make compare`.")
    columns = [np.concatenate([part[i] for part in parts]) for i in range(4)]
    return Predictions(*columns, parts[0].classes)


def figures(parts: Sequence[Predictions], *, resamples: int, seed: int) -> dict[str, Any]:
    """Return `metrics.figures` of all tested clips, with `mean` and sample `sd` of the `trials`."""
    _, groups, labels, probabilities, _ = pool(parts)
    accuracies = [float(part.right.mean()) for part in parts]
    return {
        **metrics.figures(probabilities, labels, groups, resamples=resamples, seed=seed),
        "mean": float(np.mean(accuracies)),
        "sd": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
        "trials": accuracies,
    }


def gap(
    leaking: Sequence[Predictions], honest: Sequence[Predictions], *, resamples: int, seed: int
) -> dict[str, float]:
    """Return how much higher an approach scores where groups leak, and the 95 % interval.

    Groups are drawn once for both sides, because both test clips of the same source videos.
    """
    sides = pool(leaking), pool(honest)
    groups = np.concatenate([side.groups for side in sides])
    sums = []
    for i, side in enumerate(sides):
        there = np.repeat([i == 0, i == 1], [len(s.groups) for s in sides]).astype(float)
        hits = there.copy()
        hits[there > 0] = side.right
        sums += metrics.per_group(groups, hits, there)
    low, high = metrics.bootstrap(sums, _difference, resamples=resamples, seed=seed)
    return {"gap": float(_difference(*sums)), "gap_low": low, "gap_high": high}


def _difference(hits, size, other_hits, other_size, axis: int = -1) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # NaN where a side has no clip of the groups drawn
        return hits.sum(axis) / size.sum(axis) - other_hits.sum(axis) / other_size.sum(axis)


def recalls(parts: Sequence[Predictions]) -> dict[str, float]:
    """Return the share of each class's clips that was recognised; not of classes without clips."""
    whole = pool(parts)
    return {
        name: float(whole.right[whole.labels == i].mean())
        for i, name in enumerate(whole.classes)
        if (whole.labels == i).any()
    }


def markdown(table: dict[str, dict[str, Any]], chance: float, trials: str, machine: str) -> str:
    """Return the table of comparison.json as Markdown, the best under the first protocol first."""
    first = next(iter(table.values()))
    protocols = [p for p in ("group", "official", "random") if p in first]
    head = ["approach", "parameters", "multiply-adds", "latency", "training"]
    for protocol in protocols:
        head += [f"{protocol}: accuracy", "mean ± sd", "top-5", "macro F1", "ECE"]
    rows = [[*head, "gap"] if "gap" in first else head]
    rows.append(["---"] * len(rows[0]))
    for name, row in sorted(table.items(), key=lambda item: -item[1][protocols[0]]["accuracy"]):
        seconds = row["train_seconds"]
        cells = [
            f"`{name}`",
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:,.1f} M",
            f"{row['latency_ms']:.1f} ms",
            "elsewhere" if seconds is None else f"{seconds:.0f} s",
        ]
        for protocol in protocols:
            f = row[protocol]
            cells += [
                f"{f['accuracy']:.3f} ({f['accuracy_low']:.3f} to {f['accuracy_high']:.3f})",
                f"{f['mean']:.3f} ± {f['sd']:.3f}",
                f"{f['top5']:.3f}",
                f"{f['macro_f1']:.3f}",
                f"{f['calibration_error']:.3f}",
            ]
        if "gap" in row:
            g = row["gap"]
            cells.append(f"{g['gap']:+.3f} ({g['gap_low']:+.3f} to {g['gap_high']:+.3f})")
        rows.append(cells)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return (
        f"# Comparison\n\n{trials} Chance is {chance:.3f}. In brackets: the 95 % interval over "
        "groups (source videos). sd: over trials. ECE: expected calibration error. Latency: one "
        "clip at batch 1 in float32, from frames to probabilities, backbone included. Training: "
        "the median trial, without the features of a backbone. Times were measured on: "
        f"{machine}.\n\n" + "\n".join(lines) + "\n"
    )
