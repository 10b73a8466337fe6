"""Distillation (Hinton et al. 2015): sentences labelled by the mean of several checkpoints, to train one model on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track

from yaqin.inference.checkpoint import LABELS, NO_CLAIM
from yaqin.inference.compressed import numbered_lines, written_whole
from yaqin.inference.errors import YaqinError
from yaqin.inference.tagger import Tag, Tagger, softmax
from yaqin.training.calibrate import fit_temperature
from yaqin.training.data import LabelledRow, reason, refuse_taught

_BATCH = 2000  # sentences between two steps of the progress bar
_DIGITS = 4  # of a probability in a file
_READERS = ("label_a", "label_b")


def read_sentences(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines that have a `text` each; labels are not needed, other fields are those of labelled rows.

    Raises:
        YaqinError: The file is missing, broken or empty, or a line would make no labelled row.
    """
    rows = []
    for number, line in numbered_lines(path):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise YaqinError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
            LabelledRow.model_validate({**row, "label": NO_CLAIM})
        except ValidationError as error:
            raise YaqinError(f"{path}:{number}: {reason(error)}") from error
        except ValueError as error:
            raise YaqinError(f"{path}:{number}: expected JSON, found: {error}") from error
        rows.append(row)
    if not rows:
        raise YaqinError(f"{path}: expected sentences, found an empty file")
    return rows


class Ensemble:
    """Several checkpoints as one tagger: the mean of their probabilities and of their claim thresholds.

    A mean is less sure than it may be, even of calibrated checkpoints (Rahaman and Thiery 2021): `calibrate`
    sharpens it.
    """

    def __init__(self, taggers: Sequence[Tagger]) -> None:
        self._taggers = taggers
        self._temperature = 1.0
        self._threshold = float(np.mean([tagger.checkpoint.info.claim_threshold for tagger in taggers]))

    def tag(self, sentences: Sequence[str], previous: Sequence[str | None] | None = None) -> list[Tag]:
        """Tag sentences as they stand, as `Tagger.tag` does."""
        return [self._mean(tags) for tags in zip(*(t.tag(sentences, previous) for t in self._taggers), strict=True)]

    def calibrate(self, rows: Sequence[LabelledRow]) -> float:
        """Fit one temperature to the logarithms of the means on rows that readers labelled, and give it.

        Raises:
            YaqinError: No row makes a claim, or rows were labelled by checkpoints.
        """
        refuse_taught(rows)
        claims = [row for row in rows if row.is_claim]
        if not claims:
            raise YaqinError(f"expected labelled rows of the classes {', '.join(LABELS)}, found none among {len(rows)}")
        self._temperature = 1.0
        tags = self.tag([row.text for row in claims], [row.previous or None for row in claims])
        means = np.array([[tag.probabilities[label] for label in LABELS] for tag in tags])
        gold = np.array([LABELS.index(row.label) for row in claims])
        self._temperature = fit_temperature(_log(means), gold)
        return self._temperature

    def _mean(self, tags: Sequence[Tag]) -> Tag:
        means = np.mean([[tag.probabilities[label] for label in LABELS] for tag in tags], axis=0)
        sharpened = softmax(_log(means)[None] / self._temperature)[0]
        probabilities = dict(zip(LABELS, map(float, sharpened), strict=True))
        claim = float(np.mean([tag.claim_probability for tag in tags]))
        best = max(LABELS, key=probabilities.__getitem__)
        return Tag(
            tag=best if claim >= self._threshold and any(tag.tag for tag in tags) else None,
            probabilities=probabilities,
            claim_probability=claim,
            uncertain=False,
            truncated=any(tag.truncated for tag in tags),
        )


def _log(probabilities: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log(np.maximum(probabilities, 1e-9))
    return logs


def teach(rows: Sequence[dict[str, Any]], ensemble: Ensemble, output: Path) -> None:
    """Write the rows with the ensemble's probabilities; other fields stay, earlier labels are replaced.

    The label becomes the likeliest class, or `none` where the ensemble sees no claim; cue and source are
    emptied, for no teacher gives them. The file is compressed when its name ends in `.gz`.

    Raises:
        YaqinError: The file cannot be written.
    """
    with written_whole(output) as file:
        for start in track(range(0, len(rows), _BATCH), "teaching", console=Console(stderr=True), transient=True):
            batch = rows[start : start + _BATCH]
            tags = ensemble.tag([row["text"] for row in batch], [row.get("previous") or None for row in batch])
            for row, tag in zip(batch, tags, strict=True):
                file.write(json.dumps(_taught(row, tag), ensure_ascii=False).encode() + b"\n")


def _taught(row: dict[str, Any], tag: Tag) -> dict[str, Any]:
    return {
        **{key: value for key, value in row.items() if key not in _READERS},
        "label": tag.tag or NO_CLAIM,
        "cue": "",
        "source": "",
        "confidence": 1,
        "sampling": "taught",
        "probabilities": {label: round(p, _DIGITS) for label, p in tag.probabilities.items()},
        "claim_probability": round(tag.claim_probability, _DIGITS),
    }
