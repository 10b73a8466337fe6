"""From a config file to a checkpoint that every engine runs alike."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from yaqin.inference.checkpoint import LABELS, ONNX_FILES, WEIGHTS_FILE, Checkpoint
from yaqin.inference.errors import YaqinError
from yaqin.inference.tagger import Tagger
from yaqin.inference.text import prepare
from yaqin.training.config import load_config
from yaqin.training.data import LabelledRow
from yaqin.training.export import export_onnx, pack, unpack
from yaqin.training.run import _left_in, run
from yaqin.training.train import COMPLETE, ResumableTrainer, newest_complete


@pytest.fixture(scope="module")
def sentences(written: list[dict[str, str]]) -> list[str]:
    return [row["text"] for row in written[:60]]


def _logits(folder: Path, sentences: list[str], **options: str) -> np.ndarray:
    checkpoint = Checkpoint(folder)
    return Tagger(checkpoint, **options).logits(checkpoint.input_encoder().encode(sentences))[0]


def test_transformers_alone_gives_our_logits(tiny_checkpoint: Path, sentences: list[str]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    assert [model.config.id2label[i] for i in range(4)] == list(LABELS)
    batch = tokenizer(
        [prepare(s) for s in sentences], padding=True, truncation=True, max_length=64, return_tensors="pt"
    )
    with torch.inference_mode():
        theirs = model(**batch).logits.numpy()
    for engine, precision in (("torch", "fp32"), ("onnx", "fp32")):
        ours = _logits(tiny_checkpoint, sentences, engine=engine, precision=precision)
        assert np.abs(ours - theirs).max() < 1e-4


def test_neighbours_in_a_batch_never_change_a_score_in_fp32(tiny_checkpoint: Path, sentences: list[str]) -> None:
    together = _logits(tiny_checkpoint, sentences, precision="fp32")
    alone = np.concatenate([_logits(tiny_checkpoint, [s], precision="fp32") for s in sentences[:10]])
    assert np.abs(together[:10] - alone).max() < 1e-4


def test_int8_gives_nearly_the_same_logits(tiny_checkpoint: Path, sentences: list[str]) -> None:
    full = _logits(tiny_checkpoint, sentences, precision="fp32")
    quantised = _logits(tiny_checkpoint, sentences, precision="int8")
    assert 0 < np.abs(full - quantised).max() < 0.1


def test_a_packed_checkpoint_tags_alike_and_can_be_made_full_again(
    tiny_checkpoint: Path, sentences: list[str], tmp_path: Path
) -> None:
    pack(tiny_checkpoint, tmp_path / "packed")
    assert not (tmp_path / "packed" / WEIGHTS_FILE).exists()
    assert not (tmp_path / "packed" / ONNX_FILES["fp32"]).exists()
    assert Tagger.load(tmp_path / "packed").tag(sentences) == Tagger.load(tiny_checkpoint).tag(sentences)
    with pytest.raises(YaqinError, match="--full DIR"):
        Tagger.load(tmp_path / "packed", engine="torch")
    unpack(tmp_path / "packed", tmp_path / "full")
    original = _logits(tiny_checkpoint, sentences, precision="fp32")
    assert np.abs(_logits(tmp_path / "full", sentences, engine="torch", precision="fp32") - original).max() < 0.1


def test_a_run_refuses_a_folder_in_use(tiny_checkpoint: Path, tiny_config: Path) -> None:
    with pytest.raises(YaqinError, match="add --resume or choose another"):
        run(load_config(tiny_config), name="tiny")


def test_a_finished_run_resumed_changes_nothing(tiny_checkpoint: Path, tiny_config: Path) -> None:
    before = (tiny_checkpoint / WEIGHTS_FILE).read_bytes()
    run(load_config(tiny_config), name="tiny", resume=True)
    assert (tiny_checkpoint / WEIGHTS_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("override", "different"),
    [("train.epochs=9", "train"), ("model.max_length=32", "model"), ("data.dev={dev}", "data")],
)
def test_a_run_does_not_go_on_with_what_another_config_began(
    tiny_checkpoint: Path,
    tiny_config: Path,
    tmp_path: Path,
    override: str,
    different: str,
) -> None:
    dev = tmp_path / "dev.jsonl"
    rows = [{"document": f"d{i}", "text": f"أغلق الجسر رقم {i}.", "label": "confirmed"} for i in range(5)]
    dev.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    changed = load_config(tiny_config, [override.format(dev=json.dumps([str(dev)]))])
    with pytest.raises(YaqinError, match=f"holds another run; different: {different}"):
        run(changed, name="tiny", resume=True)


def test_outlets_are_left_out_of_training_by_name() -> None:
    rows = [LabelledRow(text="وصل القطار.", label="confirmed", outlet=outlet) for outlet in ("", "النهار", "البيدر")]
    assert [row.outlet for row in _left_in(rows, ["النهار"])] == ["", "البيدر"]
    with pytest.raises(YaqinError, match="expected outlets of training rows, found النهر"):
        _left_in(rows, ["النهر"])
    with pytest.raises(YaqinError, match="expected some rows of other outlets, found none"):
        _left_in(rows, ["", "النهار", "البيدر"])


def test_development_rows_of_too_few_documents_are_refused_before_training(tiny_config: Path, tmp_path: Path) -> None:
    dev = tmp_path / "dev.jsonl"
    dev.write_text(json.dumps({"document": "d", "text": "أغلق الجسر.", "label": "confirmed"}), encoding="utf-8")
    config = load_config(tiny_config, [f'data.dev=["{dev}"]', f"run.output={tmp_path / 'out'}"])
    with pytest.raises(YaqinError, match=r"expected claims of at least 5 documents \(calibrate.folds\), found 1"):
        run(config, name="tiny")
    assert not (tmp_path / "out").exists()


def test_export_wants_a_full_checkpoint_and_leaves_no_trace_in_another_folder(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pack(tiny_checkpoint, tmp_path / "packed")
    with pytest.raises(YaqinError, match="--full DIR"):
        export_onnx(tmp_path / "packed")
    (tmp_path / "other").mkdir()
    with pytest.raises(YaqinError, match=r"expected yaqin\.json in the folder"):
        export_onnx(tmp_path / "other")
    assert not any((tmp_path / "other").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(YaqinError, match="expected a folder to write, found a file"):
        pack(tiny_checkpoint, tmp_path / "file")


def test_a_run_killed_after_an_epoch_goes_on_to_the_same_weights(
    tiny_checkpoint: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(tiny_config, [f"run.output={tmp_path / 'killed'}"])
    save = ResumableTrainer._save_checkpoint

    def save_and_die(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(ResumableTrainer, "_save_checkpoint", save_and_die)
        run(config, name="tiny")
    (whole,) = (tmp_path / "killed" / "seed-1" / "trainer").glob("checkpoint-*")
    (whole.parent / "checkpoint-999").mkdir()  # half-written: Trainer itself would take this one
    run(config, name="tiny", resume=True)
    resumed, undisturbed = (load_file(f / WEIGHTS_FILE) for f in (tmp_path / "killed", tiny_checkpoint))
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)


def test_half_written_trainer_checkpoints_are_passed_over(tmp_path: Path) -> None:
    for step, whole in ((8, True), (12, True), (16, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / COMPLETE).touch()
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-12"
    shutil.rmtree(tmp_path / "checkpoint-12")
    assert newest_complete(tmp_path) == tmp_path / "checkpoint-8"
    assert newest_complete(tmp_path / "checkpoint-8") is None


def test_the_checkpoint_says_what_made_it(tiny_checkpoint: Path) -> None:
    info = json.loads((tiny_checkpoint / "yaqin.json").read_text(encoding="utf-8"))
    assert info["labels"] == list(LABELS)
    assert info["config"]["train"]["epochs"] == 2
    assert len(info["data"]) == 2
    assert len(info["confidence_quantiles"]) == 101
    assert 0 <= info["scores"]["macro_f1"] <= 1
