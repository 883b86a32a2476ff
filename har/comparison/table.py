"""Trials to one table: pure functions of predictions, and the table as text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from har.errors import UserError
from har.evaluation import predictions
from har.evaluation.predictions import Predictions
from har.params import Trial

# Pairs of the sample's classes that are the same frames in opposite order.
REVERSED = (("SitDown", "StandUp"), ("PickUp", "PutDown"))


def read(folder: Path, trial: Trial) -> tuple[Predictions, dict[str, Any]]:
    """Read the predictions and the card of a trial.

    Raises:
        UserError: the trial was not run.
    """
    read = predictions.read(folder / str(trial) / "predictions.csv")
    return read, json.loads((folder / str(trial) / "card.json").read_text(encoding="utf-8"))


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Put the predictions of folds and seeds together.

    Raises:
        UserError: the trials are not of the same classes.
    """
    if len({tuple(part.classes) for part in parts}) > 1:
        raise UserError(
            "Expected trials of the same classes. Received: trials of different data sets. "
            "Run `make compare`."
        )
    columns = [np.concatenate([part[i] for part in parts]) for i in range(4)]
    return Predictions(*columns, parts[0].classes)


def figures(parts: Sequence[Predictions], *, resamples: int, seed: int) -> dict[str, Any]:
    """Return the figures of an approach under one protocol.

    Args:
        parts: the predictions of each of its trials.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `accuracy` of all tested clips together, with its 95 % interval over groups
        (`accuracy_low`, `accuracy_high`); `mean` and `sd` of the trials' accuracies, and these
        (`trials`); `top5`, `macro_f1` and `calibration_error` of all clips together; `n_test` and
        `n_groups`. `sd` is that of a sample, 0.0 with one trial.
    """
    whole = pool(parts)
    accuracies = [float(part.right.mean()) for part in parts]
    low, high = np.quantile(_resampled(resamples, seed, whole)[0], [0.025, 0.975], method="linear")
    own = whole.probabilities[np.arange(len(whole.labels)), whole.labels]
    rank = (whole.probabilities > own[:, None]).sum(axis=1)
    guesses = whole.probabilities.argmax(axis=1)
    return {
        "accuracy": float(whole.right.mean()),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "mean": float(np.mean(accuracies)),
        "sd": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0,
        "trials": accuracies,
        "top5": float((rank < 5).mean()),
        "macro_f1": float(f1_score(whole.labels, guesses, average="macro", zero_division=0)),
        "calibration_error": predictions.calibration_error(whole.probabilities, whole.labels),
        "n_test": len(whole.labels),
        "n_groups": len(set(whole.groups)),
    }


def gap(
    leaking: Sequence[Predictions], honest: Sequence[Predictions], *, resamples: int, seed: int
) -> dict[str, float]:
    """Return how much higher an approach scores where groups leak.

    Groups are drawn once for both sides, since both test clips of the same source videos.

    Args:
        leaking: trials under the random protocol.
        honest: trials under the group protocol.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        `gap`, the difference of the accuracies, and its 95 % interval `gap_low`, `gap_high`.
    """
    sides = pool(leaking), pool(honest)
    drawn = _resampled(resamples, seed, *sides)
    low, high = np.nanquantile(drawn[0] - drawn[1], [0.025, 0.975])
    difference = sides[0].right.mean() - sides[1].right.mean()
    return {"gap": float(difference), "gap_low": float(low), "gap_high": float(high)}


def _resampled(resamples: int, seed: int, *sides: Predictions) -> np.ndarray:
    """Return accuracies, (len(sides), resamples), of the same groups drawn with replacement.

    Whole groups are drawn, as in `har.evaluation.metrics.bootstrap_interval`: clips of one source video
    succeed and fail together.
    """
    names = sorted(set().union(*(side.groups.tolist() for side in sides)))
    index = {name: i for i, name in enumerate(names)}
    places = [np.array([index[name] for name in side.groups]) for side in sides]
    size = [np.bincount(p, minlength=len(names)) for p in places]
    hits = [
        np.bincount(p, weights=side.right, minlength=len(names))
        for p, side in zip(places, sides, strict=True)
    ]
    rng = np.random.default_rng(seed)
    accuracies = np.full((len(sides), resamples), np.nan)
    for i in range(resamples):
        drawn = rng.integers(len(names), size=len(names))
        for j in range(len(sides)):
            n = size[j][drawn].sum()
            if n:  # a side may have no clip of the groups drawn
                accuracies[j, i] = hits[j][drawn].sum() / n
    return accuracies


def recalls(parts: Sequence[Predictions]) -> dict[str, float]:
    """Return, by class, the part of its clips that was recognised; a class without clips is out."""
    whole = pool(parts)
    return {
        name: float(whole.right[whole.labels == i].mean())
        for i, name in enumerate(whole.classes)
        if (whole.labels == i).any()
    }


def pair_accuracies(parts: Sequence[Predictions]) -> dict[str, float]:
    """Return how often the right one of two reversed classes is taken for the likelier.

    Returns:
        For each pair of `REVERSED` that the data set has, as `A / B`, the part of the clips of
        both whose own class got more probability than the other; chance is 0.5.
    """
    whole = pool(parts)
    result = {}
    for pair in REVERSED:
        if set(pair) <= set(whole.classes):
            index = [whole.classes.index(name) for name in pair]
            clips = np.isin(whole.labels, index)
            likelier = np.take(index, whole.probabilities[clips][:, index].argmax(axis=1))
            result[" / ".join(pair)] = float((likelier == whole.labels[clips]).mean())
    return result


def pareto(points: dict[str, tuple[float, float]]) -> list[str]:
    """Return the names whose accuracy no cheaper one reaches, the cheapest first.

    Args:
        points: cost and accuracy by name.
    """
    front: list[str] = []
    best = -np.inf
    for name, (_, accuracy) in sorted(points.items(), key=lambda p: (p[1][0], -p[1][1])):
        if accuracy > best:
            front.append(name)
            best = accuracy
    return front


def cost(cards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what an approach costs, from the cards of its trials.

    Returns:
        `parameters`, `multiply_adds` of one clip and `latency_ms`, of the backbone too;
        `train_seconds`, the median over trials, and `train_epochs`, likewise; `backbone` and
        `weights`, where there is one.
    """
    first = cards[0]
    return {
        "parameters": first["parameters"],
        "multiply_adds": first["multiply_adds"],
        "latency_ms": first["latency_ms"],
        "train_seconds": float(np.median([card["train_seconds"] for card in cards])),
        "train_epochs": float(np.median([card["epochs"] for card in cards])),
        "backbone": first["backbone"],
    }


def markdown(table: dict[str, dict[str, Any]], chance: float, trials: str) -> str:
    """Return the table for people, the best approach under the group protocol first.

    Args:
        table: what `stages/compare.py` writes to comparison.json.
        chance: accuracy of guessing.
        trials: what was tried, in words.
    """
    protocols = [p for p in ("group", "official", "random") if p in next(iter(table.values()))]
    head = ["approach", "parameters", "multiply-adds", "latency", "training"]
    for protocol in protocols:
        head += [f"{protocol}: accuracy", "mean ± sd", "top-5", "macro F1", "ECE"]
    if "gap" in next(iter(table.values())):
        head.append("gap")
    lines = [f"| {' | '.join(head)} |", "| " + " | ".join("---" for _ in head) + " |"]
    for name, row in sorted(table.items(), key=lambda item: -item[1][protocols[0]]["accuracy"]):
        adds = row["multiply_adds"]
        cells = [
            f"`{name}`",
            f"{row['parameters']:,}",
            "not counted" if adds is None else f"{adds / 1e6:,.1f} M",
            f"{row['latency_ms']:.1f} ms",
            f"{row['train_seconds']:.0f} s",
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
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            "# Comparison",
            "",
            f"{trials} Chance is {chance:.3f}. In brackets the 95 % interval, bootstrapped over "
            "groups (source videos); sd over trials; ECE is the expected calibration error. "
            "Latency is of one clip at batch 1, from frames to probabilities, backbone included; "
            "training is the median of a trial, features of a backbone not counted, which are "
            "made once. Times are of the machine that ran it.",
            "",
            *lines,
            "",
        ]
    )
