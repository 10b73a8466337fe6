"""The evaluation of a tagger on labelled rows: scores, slices, baselines, pictures. Goes through the shipped tagger."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from yaqin.inference.checkpoint import LABELS
from yaqin.inference.errors import YaqinError
from yaqin.training import pictures
from yaqin.training.baselines import LEARNING, compare
from yaqin.training.data import LabelledRow, refuse_taught
from yaqin.training.scores import score

REPORT_FILE = "evaluation.json"
SMALL = 30
"""A slice with fewer claims says little, and is flagged."""
N_ERRORS = 50
_LENGTHS = {"1-15": 15, "16-30": 30, "31-50": 50}


class TagLike(Protocol):
    """What evaluation reads of a tag."""

    @property
    def tag(self) -> str | None:
        """The class, or None where there is no claim."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Of the four classes."""

    @property
    def truncated(self) -> bool:
        """Whether the model could not read all of the sentence."""


class TaggerLike(Protocol):
    """Whatever tags sentences as `yaqin.inference.Tagger` does."""

    def tag(self, sentences: Sequence[str], previous: Sequence[str | None] | None = None) -> Sequence[TagLike]:
        """Tag sentences as they stand."""


def evaluate(
    tagger: TaggerLike, rows: Sequence[LabelledRow], *, train: Sequence[LabelledRow] | None = None, name: str
) -> dict[str, Any]:
    """Tag rows and score the tags.

    Args:
        tagger: The tagger, with the engine that ships.
        rows: Labelled rows, those without a claim too.
        train: Training rows for the baselines that learn; without them only the lexicon stands beside.
        name: Of the checkpoint.

    Returns:
        The report, ready for JSON. No text of a row is in it: errors are named by id.

    Raises:
        YaqinError: No row makes a claim, or rows were labelled by checkpoints.
    """
    refuse_taught(rows)
    if not any(row.is_claim for row in rows):
        raise YaqinError(f"expected labelled rows of the classes {', '.join(LABELS)}, found none among {len(rows)}")
    tags = tagger.tag([row.text for row in rows], [row.previous or None for row in rows])
    overall = _scores(rows, tags)
    return {
        "name": name,
        "n_truncated": sum(tag.truncated for tag in tags),
        "curves": overall.pop("curves"),
        "overall": overall,
        "baselines": {name: asdict(scores) for name, scores in compare(rows, train).items()},
        "slices": {title: _slices(rows, tags, key) for title, key in _SLICES.items() if any(map(key, rows))},
        "errors": _errors(rows, tags),
    }


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write `evaluation.json` and the pictures into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    body = json.dumps(report, ensure_ascii=False, indent=2)
    (folder / REPORT_FILE).write_text(body + "\n", encoding="utf-8")
    pictures.draw(report, folder)


def summarise(report: Mapping[str, Any]) -> str:
    """Give the lines for a terminal: overall, the baselines beside, the slices by sampling."""
    lines = [f"{'':24}{'claims':>7}  macro-F1 [95 %]{'':10}" + "".join(f"{label:>12}" for label in LABELS)]
    lines.append(_line(report["name"], report["overall"]))
    lines += [_line(name, scores) for name, scores in report["baselines"].items()]
    lines += [_line(f"sampling {name}", scores) for name, scores in report["slices"].get("sampling", {}).items()]
    lines += _constructions(report["slices"].get("construction", {}))
    if left_out := [name for name in LEARNING if name not in report["baselines"]]:
        lines.append(f"left out: {', '.join(left_out)}, which learn from --train FILE")
    overall = report["overall"]
    lines.append(
        f"ECE {overall['ece']:.3f}; accuracy {overall['accuracy']:.3f}, {overall['accuracy_at_80']:.3f} over the "
        f"most certain 80 %; no-claim F1 {overall['no_claim']['f1']:.3f}; {report['n_truncated']} truncated"
    )
    return "\n".join(lines)


def _constructions(slices: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Give accuracies, not F1, by construction: most hold one class or two. The worst come first."""
    scored = sorted((s["accuracy"], name, s["n_claims"]) for name, s in slices.items() if s["n_claims"])
    return [f"construction {name:24}{n:4} claims, accuracy {accuracy:.2f}" for accuracy, name, n in scored]


def _line(name: str, scores: Mapping[str, Any]) -> str:
    if not scores["n_claims"]:
        return f"{name[:23]:24}{0:7}"
    low, high = scores["macro_f1_interval"]
    per_class = "".join(f"{scores['per_class'][label]['f1']:12.3f}" for label in LABELS)
    return f"{name[:23]:24}{scores['n_claims']:7}  {scores['macro_f1']:.3f} [{low:.3f}, {high:.3f}]   {per_class}"


def _scores(rows: Sequence[LabelledRow], tags: Sequence[TagLike]) -> dict[str, Any]:
    probabilities = np.array([[tag.probabilities[label] for label in LABELS] for tag in tags])
    tagged = np.array([tag.tag is not None for tag in tags])
    gold = [row.label for row in rows]
    return score(gold, probabilities, tagged, [row.document for row in rows]).to_json()


def _slices(
    rows: Sequence[LabelledRow], tags: Sequence[TagLike], key: Callable[[LabelledRow], str]
) -> dict[str, dict[str, Any]]:
    """Score the rows of each value of `key` apart; the largest slice comes first."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[key(row) or "unknown"].append(i)
    slices: dict[str, dict[str, Any]] = {}
    for name, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        n_claims = sum(rows[i].is_claim for i in members)
        slices[name] = {"n_rows": len(members), "n_claims": n_claims, "small": n_claims < SMALL}
        if n_claims:
            scores = _scores([rows[i] for i in members], [tags[i] for i in members])
            del scores["curves"]
            slices[name] |= scores
    return slices


def _length(row: LabelledRow) -> str:
    n_words = len(row.text.split())
    return next((name for name, longest in _LENGTHS.items() if n_words <= longest), "over 50")


_SLICES: dict[str, Callable[[LabelledRow], str]] = {
    "sampling": lambda row: row.sampling,
    "kind": lambda row: row.kind,
    "length": _length,
    "outlet": lambda row: row.outlet,
    "construction": lambda row: row.construction,
}


def _errors(rows: Sequence[LabelledRow], tags: Sequence[TagLike]) -> list[dict[str, Any]]:
    """Name the errors of which the tagger was surest, among rows that make a claim."""
    errors: list[dict[str, Any]] = []
    for row, tag in zip(rows, tags, strict=True):
        predicted = max(LABELS, key=lambda label: tag.probabilities[label])
        if row.is_claim and predicted != row.label:
            confidence = tag.probabilities[predicted]
            errors.append({"id": row.id, "gold": row.label, "predicted": predicted, "confidence": confidence})
    return sorted(errors, key=lambda error: -error["confidence"])[:N_ERRORS]
