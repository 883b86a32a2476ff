"""params.yaml as frozen pydantic models: one model a section, unknown keys are errors."""

import difflib
import functools
import importlib
import io
import operator
import re
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import pydantic
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML, YAMLError

from har import files
from har.errors import UserError

# The limits refuse a slip of the finger before it takes all memory.
PositiveInt = Annotated[int, Field(ge=1, le=10_000)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Part = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
IntTuple = Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)]


Protocol = Literal["group", "random", "official"]


class Section(BaseModel):
    """A section of params.yaml: frozen, strict about types, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DatasetParams(Section):
    """Where the clips come from."""

    name: Literal["sample", "ucf50", "ucf101", "folder", "table"]
    classes: Annotated[tuple[str, ...], Field(strict=False)] = ()
    path: Annotated[Path, Field(strict=False)]
    url: str | None = None
    sha256: Sha256 | None = None  # of the archive
    group_pattern: str | None = None  # in a clip's name; None: UCF's naming

    @field_validator("group_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        try:
            if pattern is None or re.compile(pattern).groups == 1:
                return pattern
        except re.error:
            pass
        raise ValueError("a regular expression with one group, as ^([a-z]+)_, or null")


class FramesParams(Section):
    """What is kept of a clip: `count` RGB frames of `height` × `width` pixels."""

    count: PositiveInt
    height: Annotated[int, Field(ge=8, le=4096)]
    width: Annotated[int, Field(ge=8, le=4096)]


class SplitParams(Section):
    """The clips for training, validation and test."""

    protocol: Protocol
    folds: Annotated[int, Field(ge=3)]
    fold: Annotated[int, Field(ge=0)]
    merge_duplicates: bool  # groups with near-duplicate clips become one

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
    saturation: Rate
    tint: Rate
    shuffle: Part
    grey: Part


class TrainParams(Section):
    """The recipe of training that all approaches share."""

    frames: PositiveInt  # of a clip, in one view
    draw: Literal["segments", "window", "middle"]  # how they are drawn; a test averages all views
    epochs: PositiveInt  # at least
    steps: Annotated[int, Field(ge=0, le=10_000_000)]  # at least
    batch: PositiveInt
    patience: PositiveInt | None  # None: no early stopping
    schedule: Literal["constant", "cosine"]
    weight_decay: Rate
    average: Rate  # momentum of the moving average of weights; 0: none
    label_smoothing: Rate
    balance: bool  # classes with few clips count more
    centre: bool  # pixels from -1 to 1 instead of 0 to 1
    augment: AugmentParams | None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]


class ApproachParams(Section):
    """The keys of every approach's section: its rate, and where it departs from `train`."""

    learning_rate: PositiveFloat
    train: dict[str, Any] = {}


Seen = Literal["pixels", "motion", "both"]


class SeeingParams(ApproachParams):
    """The section of an approach whose frame CNN sees pixels, motion, or both."""

    see: Seen
    shift: bool  # shift features of the frame CNN between neighbouring frames
    weights: Literal["rendered"] | None = None  # weights/<approach>.npz to start from, or random


class BackboneParams(Section):
    """A pretrained, frozen network, and the frames that it gets."""

    count: PositiveInt  # frames of a window
    step: PositiveInt  # distance of two frames
    windows: PositiveInt  # one is the middle of the clip, several go from start to end
    height: Annotated[int, Field(ge=32, le=4096)]
    width: Annotated[int, Field(ge=32, le=4096)]
    weights: Annotated[str, Field(min_length=1)]  # a name that the backbone knows, or a file
    sha256: Sha256 | None  # of the file of weights
    precision: Literal["auto", "float32"]  # auto: bfloat16 with AMX


class Trial(NamedTuple):
    """One training: an approach on one fold of a protocol, from one seed."""

    approach: str
    protocol: str
    fold: int | None  # None: trained on all folds
    seed: int

    def __str__(self) -> str:
        """Return the name of the trial's folder."""
        return f"{self.approach}-{self.protocol}-{self.fold}-{self.seed}"


class ComparisonParams(Section):
    """The trials of the comparison: every approach on every fold of every protocol."""

    approaches: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    protocols: Annotated[tuple[Protocol, ...], Field(strict=False, min_length=1)]
    folds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)]

    def trials(self, approach: str, protocol: str) -> list[Trial]:
        """Return the trials of an approach under a protocol."""
        return [Trial(approach, protocol, *which) for which in product(self.folds, self.seeds)]


class EvaluateParams(Section):
    """How test figures are made."""

    bootstrap: Annotated[int, Field(ge=1, le=1_000_000)]
    mistakes: PositiveInt


class Params(Section):
    """The whole of params.yaml.

    A section named like a module of `har.models` is checked by the module's `Params` in `approach`:
    an approach is one file and one section, and a stage that trains nothing does not load its code.
    """

    seed: Seed
    dataset: DatasetParams
    frames: FramesParams
    split: SplitParams
    train: TrainParams
    sample: dict[str, dict[str, Any]]  # replaces values where dataset.name is sample
    evaluate: EvaluateParams
    comparison: ComparisonParams
    backbones: dict[str, BackboneParams]
    features: dict[str, str]  # approaches that read features instead of frames, and the backbone

    @field_validator("sample")
    @classmethod
    def _sections_exist(cls, sample: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        known = ["train", *approaches()]
        if unknown := sorted(set(sample) - set(known)):
            raise ValueError(f"train or approaches ({', '.join(known[1:])}), not {unknown[0]}")
        return sample

    @field_validator("features")
    @classmethod
    def _backbones_exist(cls, features: dict[str, str], whole: ValidationInfo) -> dict[str, str]:
        known = whole.data.get("backbones", {})
        if unknown := sorted(set(features.values()) - set(known)):
            raise ValueError(f"sections of backbones ({', '.join(known)}), not {unknown[0]}")
        return features

    def _own(self, name: str) -> dict[str, Any]:
        return self.sample.get(name, {}) if self.dataset.name == "sample" else {}

    def check_approach(self, name: str) -> None:
        """Raise a `UserError` where there is no approach `name`."""
        known = approaches()
        if name not in known:
            raise UserError(
                f"Expected an approach: {', '.join(known)}. Received: {name or 'nothing'}. "
                f"{_hint(name, known) or 'Choose one of them.'}"
            )

    def approach(self, name: str) -> Any:
        """Return the section of an approach; raise a `UserError` where it is missing or wrong."""
        self.check_approach(name)
        section = getattr(self, name, None)
        if section is None:
            raise UserError(
                f"Expected the section {name} in params.yaml. Received: nothing. Add it, with the "
                f"keys of har/models/{name}.py."
            )
        if isinstance(section, dict):
            section = section | self._own(name)
        return _validate(importlib.import_module(f"har.models.{name}").Params, section, name)

    def recipe(self, name: str) -> TrainParams:
        """Return the recipe: `train`, replaced by `sample.train` and the approach's own `train`."""
        section = self.approach(name)
        own = section.train
        merged = {**self.train.model_dump(), **self._own("train"), **own}
        if isinstance(own.get("augment"), dict) and self.train.augment is not None:
            merged["augment"] = {**self.train.augment.model_dump(), **own["augment"]}
        recipe = _validate(TrainParams, merged, f"{name}.train" if own else "train")
        stored = self.frames.count
        if name not in self.features and (stored < recipe.frames or stored % recipe.frames):
            raise UserError(
                f"params.yaml: train.frames: expected {stored} (frames.count) or a number that "
                f"divides it. Received: {recipe.frames}. Change one of the two."
            )
        if getattr(section, "see", "pixels") != "pixels" and recipe.frames < 2:
            raise UserError(
                f"params.yaml: train.frames: expected at least 2, because {name}.see is "
                f"{section.see} and motion is between frames. Received: {recipe.frames}. "
                "Change one of the two."
            )
        return recipe


def approaches() -> list[str]:
    """Return the names of all approaches: the modules of `har.models`."""
    return sorted(path.stem for path in Path(__file__).parent.glob("models/[!_]*.py"))


def change(values: dict[str, Any], path: Path = Path("params.yaml")) -> None:
    """Set values of params.yaml, named by dotted keys; comments and order stay."""
    yaml = YAML()
    yaml.width = 1000  # wraps no line
    null = "tag:yaml.org,2002:null"  # written as null, not as nothing
    yaml.representer.add_representer(type(None), lambda r, _: r.represent_scalar(null, "null"))
    whole = yaml.load(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        *sections, last = key.split(".")
        functools.reduce(operator.getitem, sections, whole)[last] = value
    text = io.StringIO()
    yaml.dump(whole, text)
    files.write_text(path, text.getvalue())


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml; a `UserError` names every wrong key."""
    try:
        # YAML 1.2, as DVC writes it: `5e-05` is a number.
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist in {Path.cwd()}. Run this in the folder of the project."
        ) from None
    except (YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is no valid YAML in UTF-8: {reason[:300]}. Correct it.") from None
    if not isinstance(raw, dict):
        raise UserError(
            f"Expected sections ({', '.join(Params.model_fields)}) in {path}. "
            f"Received: {type(raw).__name__}. Restore the file from Git."
        )
    sections = dict.fromkeys(approaches(), (Any, None))  # checked where they are asked for
    return _validate(pydantic.create_model("Params", __base__=Params, **sections), raw, path=path)


def _validate(
    model: type[Section], values: Any, *above: str, path: Path | str = "params.yaml"
) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = (f"{path}: {_explain(each, model, above)}" for each in error.errors())
        raise UserError("\n       ".join(problems)) from None


def _explain(problem: dict[str, Any], model: type[Section], above: tuple[str, ...]) -> str:
    *parents, name = map(str, problem["loc"])
    key = ".".join((*above, *parents, name))
    if problem["type"] == "extra_forbidden":
        valid = _valid_keys(model, parents)
        hint = _hint(name, valid) or "Remove it or rename it."
        return f"expected one of {', '.join(valid)}. Received: the unknown key {key}. {hint}"
    if problem["type"] == "missing":
        return f"expected the key {key}. Received: nothing. Add it."
    wish = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{key}: expected {wish}. Received: {problem['input']!r}. Change it."


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else ""


def _valid_keys(model: type[Section], parents: list[str]) -> list[str]:
    for parent in parents:
        field = model.model_fields.get(parent)
        if field is None:
            continue  # the name of an entry, as in `backbones`
        found = [field.annotation, *get_args(field.annotation)]
        model = next(kind for kind in found if isinstance(kind, type) and issubclass(kind, Section))
    return list(model.model_fields)
