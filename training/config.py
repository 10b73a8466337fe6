"""The config of a training run: one TOML file, checked as a whole before torch is imported."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from yaqin.inference.errors import YaqinError
from yaqin.inference.inputs import Context

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class DataSection(_Section):
    """Files of labelled rows (JSON lines, `.gz` allowed), relative to the working directory."""

    train: list[str] = []
    """Labelled news sentences."""
    written: list[str] = []
    """Sentences written for the purpose; they are trained on as well."""
    dev: Annotated[list[str], Field(min_length=1)]
    """Chooses the epoch and the seed, fits the calibration; never trained on."""
    leave_out: list[str] = []
    """Outlets whose rows are not trained on, to measure how the model reads outlets that it has never seen.
    Rows taught by checkpoints that have seen them would undo it."""
    near_duplicate: Fraction = 0.8
    """Cosine of TF-IDF vectors from which two sentences count as one (training against development)."""

    @model_validator(mode="after")
    def _some_rows(self) -> "DataSection":
        if not self.train and not self.written:
            raise ValueError("expected files under train or written, found neither")
        return self


class ModelSection(_Section):
    """The encoder and what it reads."""

    encoder: str
    """A folder or a hub name of a Hugging Face encoder that needs no segmentation."""
    max_length: Annotated[int, Field(ge=16, le=512)] = 192
    """Longest input in pieces; an Arabic news sentence has 56 on average, 99 % have under 145."""
    context: Context = "none"
    """Whether the sentence before is read as well."""
    context_length: Positive = 32
    """At most so many pieces of it, its last ones."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Implementation of attention while training."""


class TrainSection(_Section):
    """The optimisation."""

    epochs: Positive = 3
    """Passes over the training rows, at most."""
    batch_size: Positive = 16
    """Rows a step and device."""
    gradient_accumulation: Positive = 1
    """Steps whose gradients are added up before the weights move."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-5
    """Peak of the schedule: linear warm-up, then linear decay."""
    warmup: Fraction = 0.1
    """Fraction of all steps spent warming up."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's decay."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability mass spread over all classes."""
    class_weights: Literal["none", "sqrt", "balanced"] = "none"
    """Weight of a class in the loss: equal, or by the (root of the) inverse of its frequency."""
    claim_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the claim probability's loss beside the classes' loss."""
    evidence_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the auxiliary loss that finds the cue and source words; 0 leaves it out."""
    patience: Positive = 2
    """Stop after so many evaluations without a better development macro-F1."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic; auto takes bf16 where the GPU or the processor computes in it, and fp32 elsewhere."""


class CalibrateSection(_Section):
    """What is fitted on the development rows after training."""

    method: Literal["temperature", "none"] = "temperature"
    """One temperature for the class logits (Guo et al. 2017), or nothing."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds by document for the calibration error that is reported."""


class RunSection(_Section):
    """Where the run goes."""

    output: str
    """Becomes the checkpoint of the best seed; the others stand in `seed-N/` inside it."""
    seeds: Annotated[list[int], Field(min_length=1)] = [1]
    """One model is trained for each."""
    log: Literal["none", "tensorboard"] = "none"
    """Training curves, written under `trainer/runs/` of each seed."""

    @model_validator(mode="after")
    def _distinct_seeds(self) -> "RunSection":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"expected distinct seeds, found {self.seeds}")
        return self


class Config(_Section):
    """A whole run."""

    data: DataSection
    model: ModelSection
    train: TrainSection = TrainSection()
    calibrate: CalibrateSection = CalibrateSection()
    run: RunSection


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML config and apply `section.key=value` overrides.

    Raises:
        YaqinError: The file is missing or is no TOML, or the config is wrong; every mistake is named.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise YaqinError(f"{path}: expected a config file, found nothing") from None
    except (OSError, ValueError) as error:
        raise YaqinError(f"{path}: expected TOML in UTF-8, found: {error}") from error
    for override in overrides:
        _apply(content, override)
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}{_found(e)}" for e in error.errors()]
        raise YaqinError(f"{path}: {len(mistakes)} mistake(s): " + "; ".join(mistakes)) from None


def _found(error: Any) -> str:
    return "" if error["type"] == "missing" or isinstance(error["input"], dict) else f", found {error['input']!r}"


def _apply(content: dict[str, Any], override: str) -> None:
    """Set one `section.key=value`; the value is read as TOML, or as a string where it is none."""
    name, equals, value = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise YaqinError(f"--set: expected section.key=value, found {override!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    if not isinstance(content.setdefault(section, {}), dict):
        raise YaqinError(f"--set: expected a section, found {section} = {content[section]!r}")
    content[section][key] = parsed
