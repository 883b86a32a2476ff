"""params.yaml as frozen pydantic models: one model a section, unknown keys are errors."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from har.errors import UserError

PositiveInt = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
IntTuple = Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)]


class Section(BaseModel):
    """A section of params.yaml: frozen, strict about types, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DatasetParams(Section):
    """Where the clips come from."""

    name: Literal["sample", "ucf50", "ucf101", "folder"]
    classes: Annotated[tuple[str, ...], Field(strict=False)] = ()
    path: Annotated[Path, Field(strict=False)]
    url: str | None = None
    insecure_tls: bool = False


class FramesParams(Section):
    """What is kept of a clip: `count` RGB frames of `height` × `width` pixels."""

    count: PositiveInt
    height: Annotated[int, Field(ge=8)]
    width: Annotated[int, Field(ge=8)]


class SplitParams(Section):
    """Which clips are for training, validation and test."""

    protocol: Literal["group", "random", "official"]
    folds: Annotated[int, Field(ge=3)]
    fold: Annotated[int, Field(ge=0)]

    @field_validator("fold")
    @classmethod
    def _fold_exists(cls, fold: int, section: ValidationInfo) -> int:
        folds = 3 if section.data.get("protocol") == "official" else section.data.get("folds")
        if folds and fold >= folds:
            raise ValueError(f"a fold between 0 and {folds - 1}")
        return fold


class AugmentParams(Section):
    """Random changes of a training clip, the same for all its frames."""

    flip: bool
    zoom: Rate
    shift: Rate
    brightness: Rate
    contrast: Rate


class TrainParams(Section):
    """What all approaches share in training."""

    epochs: PositiveInt
    batch: PositiveInt
    patience: PositiveInt
    schedule: Literal["constant", "cosine"]
    centre: bool  # pixels from -1 to 1 instead of 0 to 1
    augment: AugmentParams
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]


class ConvLSTMParams(Section):
    """The ConvLSTM network: one ConvLSTM2D block an entry of `filters`."""

    filters: IntTuple
    dropout: Rate
    recurrent_dropout: Rate
    learning_rate: PositiveFloat


class LRCNParams(Section):
    """The LRCN network: a frame CNN with one block an entry of `filters`, then an LSTM."""

    filters: IntTuple
    pools: IntTuple
    dropout: Rate
    units: PositiveInt
    learning_rate: PositiveFloat

    @field_validator("pools")
    @classmethod
    def _a_pool_per_block(cls, pools: tuple[int, ...], section: ValidationInfo) -> tuple[int, ...]:
        filters = section.data.get("filters", pools)
        if len(pools) != len(filters):
            raise ValueError(f"one entry a block, {len(filters)} as in filters")
        return pools


class EvaluateParams(Section):
    """How test figures are made."""

    bootstrap: PositiveInt
    mistakes: PositiveInt


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    dataset: DatasetParams
    frames: FramesParams
    split: SplitParams
    train: TrainParams
    convlstm: ConvLSTMParams
    lrcn: LRCNParams
    evaluate: EvaluateParams


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Args:
        path: the file, relative to the working directory.

    Raises:
        UserError: the file is missing, is not YAML, or holds a key or value that cannot be;
            the message names every wrong key.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"Expected {path} in the working directory. Received: no such file in {Path.cwd()}. "
            "Run from the root of the project."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"Expected valid YAML in UTF-8 in {path}. Received: {error}. Mend it."
        ) from None
    if not isinstance(raw, dict):
        raise UserError(
            f"Expected sections ({', '.join(Params.model_fields)}) in {path}. "
            f"Received: {type(raw).__name__}. Restore the file from Git."
        )
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors()]
        raise UserError("\n       ".join(f"{path}: {problem}" for problem in problems)) from None


def _explain(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        valid = _valid_keys(problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), valid, n=1)
        hint = f"Did you mean {close[0]}?" if close else "Remove it or rename it."
        return f"expected one of {', '.join(valid)}. Received: the unknown key {key}. {hint}"
    if problem["type"] == "missing":
        return f"expected the key {key}. Received: nothing. Add it."
    wish = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    value = problem["input"]
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(e[-+]?\d+)", value, re.IGNORECASE):
        return (
            f"{key}: expected {wish}. Received: the text {value!r}. YAML needs a point in a number "
            f"like this: write {value.lower().replace('e', '.0e')}."
        )
    return f"{key}: expected {wish}. Received: {value!r}. Change it."


def _valid_keys(parents: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Params
    for parent in parents:
        model = model.model_fields[str(parent)].annotation  # type: ignore[assignment]
    return list(model.model_fields)
