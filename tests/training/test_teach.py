"""Distillation: what teachers give, and a student that learns from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from yaqin.inference.checkpoint import LABELS, Checkpoint
from yaqin.inference.errors import YaqinError
from yaqin.inference.tagger import Tagger
from yaqin.training.cli import app
from yaqin.training.config import load_config
from yaqin.training.data import read_rows
from yaqin.training.run import run
from yaqin.training.teach import read_sentences


@pytest.fixture
def sentences(tmp_path: Path, written: list[dict[str, str]]) -> Path:
    path = tmp_path / "sentences.jsonl"
    rows = [{"id": row["id"], "document": row["document"], "text": row["text"]} for row in written[:40]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _teach(sentences: Path, *teachers: Path) -> Path:
    output = sentences.with_name("taught.jsonl.gz")
    result = CliRunner().invoke(
        app, ["teach", str(sentences), *map(str, teachers), "--output", str(output)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return output


def test_the_mean_of_the_teachers_is_taught(tiny_checkpoint: Path, sentences: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, other)
    info = json.loads((other / "yaqin.json").read_text(encoding="utf-8"))
    (other / "yaqin.json").write_text(json.dumps(info | {"temperature": 9.0}), encoding="utf-8")
    rows = read_rows([_teach(sentences, tiny_checkpoint, other)])
    texts = [row.text for row in rows]
    means = [
        [(first.probabilities[label] + second.probabilities[label]) / 2 for label in LABELS]
        for first, second in zip(Tagger.load(tiny_checkpoint).tag(texts), Tagger.load(other).tag(texts), strict=True)
    ]
    taught = np.array([[(row.probabilities or {})[label] for label in LABELS] for row in rows])
    assert np.abs(taught - means).max() < 1e-4
    assert [row.label for row in rows if row.is_claim] == [
        LABELS[mean.argmax()] for row, mean in zip(rows, taught, strict=True) if row.is_claim
    ]
    assert [row.id for row in rows] == [row["id"] for row in read_sentences(sentences)]


def test_a_student_learns_from_taught_rows_alone(
    tiny_checkpoint: Path, tiny_config: Path, sentences: Path, tmp_path: Path
) -> None:
    taught = _teach(sentences, tiny_checkpoint)
    overrides = [f'data.train=["{taught}"]', "data.written=[]", f"run.output={tmp_path / 'student'}"]
    student = run(load_config(tiny_config, [*overrides, "train.epochs=1"]), name="student")
    assert Checkpoint(student).info.name == "student"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected sentences, found an empty file"),
        ('{"text": "وصل القطار."}\n{"title": "قطار"}\n', r':2: expected a sentence in "text", found {"title"'),
        ("[1]\n", r':1: expected a sentence in "text", found \[1\]'),
        ("{\n", ":1: expected JSON, found: "),
    ],
)
def test_what_is_no_sentence_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "sentences.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(YaqinError, match=message):
        read_sentences(path)
