"""How often `har report` calls a change beyond noise: one that changes nothing, and true gains.

Command: python benchmarks/judgement.py [--changes 2000] [--accuracy 0.8]
It simulates tests of 144 clips in 36 groups (the sample's). How hard a group and a clip are is
shared by both sides; each training has its own luck with each group. Today's rule is paired; the
other one takes the two sides' intervals as independent.
Cost: 4 minutes for 2,000 changes.
"""

import argparse

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from har.evaluation import paired

GROUPS = np.repeat(np.arange(36), 4)
SHARED, OWN = 2.0, 0.5  # spread in logits of groups and of clips; of one training on a group


def main() -> None:
    """Simulate and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=2000)
    parser.add_argument("--accuracy", type=float, default=0.8)
    options = parser.parse_args()
    print(f"{options.changes} changes from an accuracy of {options.accuracy}: called beyond noise")
    print(f"{'gain':8}{'accuracy':>10}{'paired':>10}{'separate':>10}")
    for gain in (0, 0.05, 0.1):
        if options.accuracy + gain < 1:
            rng = np.random.default_rng(7)
            levels = [level(options.accuracy), level(options.accuracy + gain)]
            found = np.mean([change(levels, rng) for _ in range(options.changes)], axis=0)
            accuracy = f"{options.accuracy + gain:.2f}"
            print(f"{gain or 'none':<8}{accuracy:>10}{found[0]:10.3f}{found[1]:10.3f}", flush=True)


def level(accuracy: float) -> float:
    """Return the logit around which clips have this accuracy on average."""
    noise = np.random.default_rng(0).normal(0, np.sqrt(2 * SHARED**2 + OWN**2), 100_000)
    return brentq(lambda logit: expit(logit + noise).mean() - accuracy, -10, 40)


def change(levels: list[float], rng: np.random.Generator) -> tuple[bool, bool]:
    """Draw two tests; return whether the paired and the separate rule see a change."""
    hard = rng.normal(0, SHARED, 36)[GROUPS] + rng.normal(0, SHARED, 144)
    sides = [expit(x + hard + rng.normal(0, OWN, 36)[GROUPS]) > rng.random(144) for x in levels]
    _, *interval = paired.difference(*sides, GROUPS, resamples=1000)
    drawn = rng.integers(36, size=(1000, 36))
    ends = []
    for side in sides:
        resampled = side.reshape(36, 4).mean(axis=1)[drawn].mean(axis=1)
        ends.append((side.mean(), *np.quantile(resampled, [0.025, 0.975])))
    separate = paired.separate_difference(*ends)
    return tuple(low > 1e-9 or high < -1e-9 for low, high in (interval, separate))


if __name__ == "__main__":
    main()
