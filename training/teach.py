"""Distillation (Hinton et al. 2015): sentences labelled by the mean of several checkpoints, to train one model on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from yaqin.inference.checkpoint import LABELS, NO_CLAIM
from yaqin.inference.compressed import numbered_lines
from yaqin.inference.errors import YaqinError
from yaqin.inference.hydrate import written_whole
from yaqin.inference.tagger import Tagger

SAMPLING = "taught"
_BATCH = 2000
_DIGITS = 4


def read_sentences(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines that have a `text` each.

    Raises:
        YaqinError: The file is missing, broken or empty, or a line has no `text`.
    """
    rows = []
    for number, line in numbered_lines(path):
        try:
            row = json.loads(line)
            text = row.get("text") if isinstance(row, dict) else None
        except ValueError as error:
            raise YaqinError(f"{path}:{number}: expected JSON, found: {error}") from error
        if not isinstance(text, str) or not text.strip():
            raise YaqinError(
                f'{path}:{number}: expected a sentence in "text", found {line[:80].decode(errors="replace")}'
            )
        rows.append(row)
    if not rows:
        raise YaqinError(f"{path}: expected sentences, found an empty file")
    return rows


def teach(rows: Sequence[dict[str, Any]], teachers: Sequence[Tagger]) -> list[dict[str, Any]]:
    """Give the rows with the teachers' mean probabilities; other fields stay, earlier labels are replaced.

    The label becomes the likeliest class, or `none` where the mean claim probability is under one half; cue
    and source are emptied, for no teacher gives them.
    """
    probabilities, claims = np.zeros((len(rows), len(LABELS))), np.zeros(len(rows))
    for number, teacher in enumerate(teachers, 1):
        for start in track(range(0, len(rows), _BATCH), f"teacher {number} of {len(teachers)}", transient=True):
            batch = rows[start : start + _BATCH]
            tags = teacher.tag([row["text"] for row in batch], [row.get("previous") or None for row in batch])
            probabilities[start : start + _BATCH] += [[tag.probabilities[label] for label in LABELS] for tag in tags]
            claims[start : start + _BATCH] += [tag.claim_probability for tag in tags]
    probabilities, claims = (probabilities / len(teachers)).round(_DIGITS), (claims / len(teachers)).round(_DIGITS)
    return [
        {
            **row,
            "label": LABELS[mean.argmax()] if claim >= 0.5 else NO_CLAIM,
            "cue": "",
            "source": "",
            "confidence": 1,
            "sampling": SAMPLING,
            "probabilities": dict(zip(LABELS, mean.tolist(), strict=True)),
            "claim_probability": float(claim),
        }
        for row, mean, claim in zip(rows, probabilities, claims, strict=True)
    ]


def write_rows(rows: Sequence[dict[str, Any]], output: Path) -> None:
    """Write JSON lines, compressed when the name ends in `.gz`.

    Raises:
        YaqinError: The file cannot be written.
    """
    with written_whole(output) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
