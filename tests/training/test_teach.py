"""Distillation: what teachers give, and a student that learns from it."""

import json
import shutil
from collections.abc import Sequence
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
from yaqin.training.evaluate import evaluate
from yaqin.training.run import run
from yaqin.training.teach import Ensemble, read_sentences


@pytest.fixture
def sentences(tmp_path: Path, written: list[dict[str, str]]) -> Path:
    path = tmp_path / "sentences.jsonl"
    rows = [{"id": row["id"], "document": row["document"], "text": row["text"]} for row in written[:40]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _teach(sentences: Path, *teachers: Path, options: Sequence[str] = ()) -> Path:
    output = sentences.with_name("taught.jsonl.gz")
    command = ["teach", str(sentences), *map(str, teachers), "--output", str(output), *options]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return output


def _unsure(checkpoint: Path, copy: Path) -> Path:
    shutil.copytree(checkpoint, copy)
    info = json.loads((copy / "yaqin.json").read_text(encoding="utf-8"))
    (copy / "yaqin.json").write_text(json.dumps(info | {"temperature": 9.0}), encoding="utf-8")
    return copy


def test_the_mean_of_the_teachers_is_taught(tiny_checkpoint: Path, sentences: Path, tmp_path: Path) -> None:
    other = _unsure(tiny_checkpoint, tmp_path / "other")
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


def test_the_mean_is_calibrated_on_rows_that_readers_labelled(
    tiny_checkpoint: Path, sentences: Path, repository: Path, tmp_path: Path
) -> None:
    teachers = [tiny_checkpoint, _unsure(tiny_checkpoint, tmp_path / "other")]
    dev = repository / "seeds" / "written-test.jsonl"
    rows = read_rows([dev])
    claims = [row for row in rows if row.is_claim]
    ensemble = Ensemble([Tagger.load(teacher) for teacher in teachers])

    def loss() -> float:
        tags = ensemble.tag([row.text for row in claims])
        return -float(np.mean([np.log(tag.probabilities[row.label]) for row, tag in zip(claims, tags, strict=True)]))

    before = loss()
    assert ensemble.calibrate(rows) < 1  # the mean was too unsure
    assert loss() < before
    plain, calibrated = (
        read_rows([_teach(sentences, *teachers, options=options)]) for options in ([], ["--dev", str(dev)])
    )
    for row, other in zip(plain, calibrated, strict=True):
        assert row.label == other.label  # one temperature moves no class past another
        assert row.probabilities != other.probabilities
        assert sum((other.probabilities or {}).values()) == pytest.approx(1, abs=1e-3)


def test_a_student_learns_from_taught_rows_alone(
    tiny_checkpoint: Path, tiny_config: Path, sentences: Path, tmp_path: Path
) -> None:
    taught = _teach(sentences, tiny_checkpoint)
    overrides = [f'data.train=["{taught}"]', "data.written=[]", f"run.output={tmp_path / 'student'}"]
    student = run(load_config(tiny_config, [*overrides, "train.epochs=1"]), name="student")
    assert Checkpoint(student).info.name == "student"


def test_what_cannot_be_tagged_is_taught_to_be_no_claim(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_text('{"text": "Read more"}\n', encoding="utf-8")
    (row,) = read_rows([_teach(path, tiny_checkpoint)])
    assert row.label == "none"
    assert row.is_taught


def test_taught_rows_are_not_scored_against(
    tiny_checkpoint: Path, tiny_config: Path, repository: Path, tmp_path: Path
) -> None:
    test = tmp_path / "test.jsonl"
    shutil.copy(repository / "seeds" / "written-test.jsonl", test)
    taught = _teach(test, tiny_checkpoint)
    with pytest.raises(YaqinError, match="expected rows that readers labelled, found 144 that checkpoints taught"):
        run(load_config(tiny_config, [f'data.dev=["{taught}"]', f"run.output={tmp_path / 'out'}"]), name="x")
    with pytest.raises(YaqinError, match="found 144 that checkpoints taught"):
        evaluate(Tagger.load(tiny_checkpoint), read_rows([taught]), name="x")


def test_a_mean_of_checkpoints_is_scored_by_the_command(
    tiny_checkpoint: Path, repository: Path, tmp_path: Path
) -> None:
    test = str(repository / "seeds" / "written-test.jsonl")
    command = ["evaluate", str(tiny_checkpoint), test, "--with", str(tiny_checkpoint), "--output", str(tmp_path)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    report = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    alone = evaluate(Tagger.load(tiny_checkpoint), read_rows([Path(test)]), name="tiny")
    assert report["name"] == "tiny + tiny"
    assert report["overall"]["confusion"] == alone["overall"]["confusion"]
    assert report["overall"]["no_claim"] == alone["overall"]["no_claim"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected sentences, found an empty file"),
        ('{"text": "وصل القطار."}\n{"title": "قطار"}\n', ":2: text: Field required"),
        ('{"text": "وصل القطار.", "previous": 5}\n', ":1: previous: Input should be a valid string, found 5"),
        ("[1]\n", ":1: expected a JSON object, found list"),
        ("{\n", ":1: expected JSON, found: "),
    ],
)
def test_what_is_no_sentence_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "sentences.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(YaqinError, match=message):
        read_sentences(path)
