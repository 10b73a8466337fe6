"""Labelled rows: read strictly, kept apart by article, turned into what the Trainer eats."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import datasets
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from yaqin.inference.checkpoint import LABELS, NO_CLAIM
from yaqin.inference.compressed import numbered_lines
from yaqin.inference.errors import YaqinError
from yaqin.inference.inputs import Input, InputEncoder
from yaqin.inference.text import prepare

IGNORED = -100
"""Label of what a loss passes over."""
EVIDENCE = ("none", "cue", "source")
"""Classes of the auxiliary loss over pieces."""
_SHOWN_MISTAKES = 20


class LabelledRow(BaseModel):
    """One labelled sentence; further fields are allowed and ignored."""

    model_config = ConfigDict(strict=True, frozen=True)

    text: str = Field(min_length=1)
    label: Literal["confirmed", "attributed", "hedged", "unverified", "none"]
    previous: str = ""
    cue: str = ""
    source: str = ""
    id: str = ""
    document: str = ""
    outlet: str = ""
    kind: Literal["body", "headline"] = "body"
    sampling: str = ""
    construction: str = ""
    """Of a contrast sentence: the way of speaking that it tests."""
    probabilities: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = None
    """Of a sentence that `yaqin teach` labelled: the teachers' mean; learnt from instead of the label."""
    claim_probability: float | None = Field(None, ge=0, le=1)
    """The same of whether it makes a claim."""

    @field_validator("text")
    @classmethod
    def _not_blank(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("expected a sentence, found white space")
        return text

    @model_validator(mode="after")
    def _whole_teaching(self) -> Self:
        if (self.probabilities is None) != (self.claim_probability is None):
            raise ValueError("expected probabilities and claim_probability together, found one of them")
        if self.probabilities is not None and set(self.probabilities) != set(LABELS):
            raise ValueError(f"expected probabilities of {', '.join(LABELS)}, found {', '.join(self.probabilities)}")
        return self

    @property
    def is_claim(self) -> bool:
        """Whether one of the four classes is the row's label."""
        return self.label != NO_CLAIM

    @property
    def is_taught(self) -> bool:
        """Whether other checkpoints labelled the row, rather than a reader."""
        return self.probabilities is not None

    @property
    def p_claim(self) -> float:
        """The claim target: 0 or 1, or the teachers' probability."""
        return float(self.is_claim) if self.claim_probability is None else self.claim_probability

    @property
    def targets(self) -> list[float]:
        """What the tag head learns; the mass is how far the row makes a claim. *Shape:* ``(4,)``"""
        if self.probabilities is None:
            return [float(self.label == label) for label in LABELS]
        return [self.p_claim * self.probabilities[label] for label in LABELS]


def read_rows(paths: Sequence[str | Path]) -> list[LabelledRow]:
    """Read labelled JSON lines.

    Raises:
        YaqinError: A file is missing or broken, or rows are not as they must be; each is named with its
            file, line and reason, and none is coerced or dropped.
    """
    rows: list[LabelledRow] = []
    mistakes: list[str] = []
    for path in map(Path, paths):
        before = len(rows), len(mistakes)
        for number, line in numbered_lines(path):
            try:
                rows.append(LabelledRow.model_validate_json(line))
            except ValidationError as error:
                mistakes.append(f"{path}:{number}: {reason(error)}")
        if before == (len(rows), len(mistakes)):
            raise YaqinError(f"{path}: expected labelled rows, found an empty file")
    if mistakes:
        more = f"\n… and {len(mistakes) - _SHOWN_MISTAKES} more" if len(mistakes) > _SHOWN_MISTAKES else ""
        raise YaqinError(f"{len(mistakes)} bad row(s):\n" + "\n".join(mistakes[:_SHOWN_MISTAKES]) + more)
    return rows


def reason(error: ValidationError) -> str:
    """Say what is wrong with a row, field by field."""
    return "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}"
        + (
            ""
            if e["type"] in ("missing", "json_invalid")
            else f", found {json.dumps(e['input'], ensure_ascii=False, default=str)[:80]}"
        )
        for e in error.errors(include_url=False)
    )


def refuse_leakage(train: Sequence[LabelledRow], dev: Sequence[LabelledRow], *, near_duplicate: float) -> None:
    """Refuse a development set that shares articles or near-duplicates with the training set.

    Raises:
        YaqinError: Documents are in both, or prepared sentences whose TF-IDF vectors (words and pairs of
            words) have a cosine of `near_duplicate` or more.
    """
    shared = {row.document for row in train if row.document} & {row.document for row in dev}
    if shared:
        raise YaqinError(
            f"{len(shared)} article(s) stand in both training and development data, for instance "
            f"{sorted(shared)[0]!r}: split by article"
        )
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", sublinear_tf=True, dtype=np.float32)
    train_vectors = vectorizer.fit_transform(prepare(row.text) for row in train)
    similarity = vectorizer.transform(prepare(row.text) for row in dev) @ train_vectors.T
    pairs = np.argwhere(similarity.max(axis=1).toarray().ravel() >= near_duplicate).ravel()
    if len(pairs):
        text = dev[pairs[0]].text
        twin = train[int(similarity[pairs[0]].argmax())].text
        raise YaqinError(
            f"{len(pairs)} development sentence(s) have a near-duplicate in the training data (cosine ≥ "
            f"{near_duplicate}), for instance {text[:80]!r} and {twin[:80]!r}: take them out of one of the two"
        )


@dataclass(frozen=True)
class Features:
    """Encoded rows.

    Attributes:
        dataset: Columns `input_ids`, `token_type_ids`, `evidence_labels` (one a piece), `targets` (one a class,
            in the order of `LABELS`, that sum to `claim_targets`), `claim_targets` and `length` (pieces).
        n_truncated: Sentences that did not fit.
    """

    dataset: datasets.Dataset
    n_truncated: int


def encode_rows(rows: Sequence[LabelledRow], encoder: InputEncoder) -> Features:
    """Encode labelled rows with the input encoder that tagging uses."""
    inputs = encoder.encode([row.text for row in rows], [row.previous for row in rows], offsets=True)
    columns = [
        {
            "input_ids": encoded.ids,
            "token_type_ids": encoded.type_ids,
            "targets": row.targets,
            "claim_targets": row.p_claim,
            "evidence_labels": _evidence_labels(row, encoded),
            "length": len(encoded.ids),
        }
        for row, encoded in zip(rows, inputs, strict=True)
    ]
    return Features(datasets.Dataset.from_list(columns), sum(encoded.truncated for encoded in inputs))


def _evidence_labels(row: LabelledRow, encoded: Input) -> list[int]:
    """Label each piece as part of the cue, of the source or of neither; special pieces are passed over.

    Rows without a reader's evidence are passed over whole.
    """
    if row.is_taught:
        return [IGNORED] * len(encoded.ids)
    prepared = prepare(row.text)
    labels = [IGNORED if start == end else 0 for start, end in encoded.offsets]
    first_end = next((i for i in range(1, len(labels)) if labels[i] == IGNORED), len(labels))
    labels[first_end:] = [IGNORED] * (len(labels) - first_end)  # the sentence before has no evidence
    for value, span in ((2, prepare(row.source)), (1, prepare(row.cue))):
        at = prepared.find(span) if span else -1
        if at < 0:
            continue
        for i, (start, end) in enumerate(encoded.offsets[:first_end]):
            if start < at + len(span) and end > at and labels[i] != IGNORED:
                labels[i] = value
    return labels


def label_counts(rows: Iterable[LabelledRow]) -> np.ndarray:
    """Count the rows of each of the four classes, taught ones by their parts. *Shape:* ``(4,)``"""
    counts = np.zeros(len(LABELS))
    for row in rows:
        counts += row.targets
    return counts


def refuse_taught(rows: Iterable[LabelledRow]) -> None:
    """Refuse to score against what models said.

    Raises:
        YaqinError: `yaqin teach` labelled some of the rows.
    """
    if n_taught := sum(row.is_taught for row in rows):
        raise YaqinError(f"expected rows that readers labelled, found {n_taught} that checkpoints taught")
