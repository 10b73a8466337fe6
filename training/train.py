"""Fine-tuning with the Hugging Face Trainer: one model a seed, resumable, the best seed kept."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.metrics import f1_score
from torch import Tensor
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

from yaqin.inference.checkpoint import LABELS
from yaqin.inference.errors import YaqinError
from yaqin.inference.inputs import InputEncoder
from yaqin.training.config import Config
from yaqin.training.data import IGNORED, Features, LabelledRow, encode_rows, label_counts
from yaqin.training.model import ClaimTagger, load_classifier

COMPLETE = "complete"
"""Marker file of a trainer checkpoint whose every file was written."""


@dataclass(frozen=True)
class Collator:
    """Pads a batch to its longest row. *Shape:* ``(batch_size, longest)``"""

    pad_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Stack rows of `Features.dataset` into tensors."""
        width = max(len(row["input_ids"]) for row in rows)

        def padded(key: str, value: int) -> Tensor:
            return torch.tensor([row[key] + [value] * (width - len(row[key])) for row in rows])

        mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
        return {
            "input_ids": padded("input_ids", self.pad_id),
            "token_type_ids": padded("token_type_ids", 0),
            "attention_mask": torch.tensor(mask),
            "evidence_labels": padded("evidence_labels", IGNORED),
            "targets": torch.tensor([row["targets"] for row in rows]),
            "claim_targets": torch.tensor([row["claim_targets"] for row in rows]),
        }


class ResumableTrainer(Trainer):
    """A Trainer that marks each checkpoint once it is whole, and resumes from the newest marked one.

    Trainer itself takes the highest-numbered folder, half-written or not.
    """

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        if self.is_world_process_zero():
            (Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}" / COMPLETE).touch()


def newest_complete(folder: Path) -> Path | None:
    """Give the newest trainer checkpoint that carries the marker; half-written ones are passed over."""
    whole = [marker.parent for marker in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def fit(
    config: Config,
    train: Sequence[LabelledRow],
    dev: Sequence[LabelledRow],
    *,
    seed: int,
    folder: Path,
    resume: bool,
) -> tuple[ClaimTagger, PreTrainedTokenizerBase, float]:
    """Fine-tune one model.

    Args:
        config: The run.
        train: Rows to learn from.
        dev: Rows that choose the epoch.
        seed: Of the new heads, of dropout and of the order of rows.
        folder: Where the Trainer keeps its checkpoints.
        resume: Go on from the newest complete checkpoint there, if there is one.

    Returns:
        The model of the best evaluation, its tokenizer and its development macro-F1.
    """
    set_seed(seed)
    tokenizer = _load_tokenizer(config.model.encoder)
    train_features, dev_features = _features(config, tokenizer, train), _features(config, tokenizer, dev)
    model = ClaimTagger(
        load_classifier(config.model.encoder, attention=config.model.attention),
        class_weights=_class_weights(config, train),
        label_smoothing=config.train.label_smoothing,
        claim_weight=config.train.claim_weight,
        evidence_weight=config.train.evidence_weight,
    )
    trainer = _trainer(config, model, train_features.dataset, dev_features.dataset, tokenizer, seed, folder)
    checkpoint = newest_complete(folder) if resume else None
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return model.eval(), tokenizer, float(trainer.state.best_metric or 0.0)


def _load_tokenizer(encoder: str) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(encoder, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise YaqinError(
            f"model.encoder: expected a folder or a reachable hub name with a tokenizer, found {encoder!r}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _features(config: Config, tokenizer: PreTrainedTokenizerBase, rows: Sequence[LabelledRow]) -> Features:
    encoder = InputEncoder(
        tokenizer.backend_tokenizer,
        max_length=config.model.max_length,
        context=config.model.context,
        context_length=config.model.context_length,
    )
    return encode_rows(rows, encoder)


def _class_weights(config: Config, rows: Sequence[LabelledRow]) -> Tensor | None:
    """Weigh each class by the (root of the) inverse of its frequency, 1 on average over rows."""
    if config.train.class_weights == "none":
        return None
    counts = np.maximum(label_counts(rows), 1)
    weights = counts.sum() / (len(counts) * counts)
    if config.train.class_weights == "sqrt":
        weights = np.sqrt(weights)
    weights /= (weights * counts).sum() / counts.sum()
    return torch.tensor(weights, dtype=torch.float32)


def macro_f1(prediction: EvalPrediction) -> dict[str, float]:
    """Score the arg-max of the four classes over rows whose gold label is a claim."""
    logits = np.asarray(prediction.predictions[0])
    targets = np.asarray(prediction.label_ids[0])
    claims = targets.any(axis=-1)
    gold, predicted = targets[claims].argmax(axis=-1), logits[claims].argmax(axis=-1)
    per_class = f1_score(gold, predicted, average=None, labels=range(len(LABELS)), zero_division=0)
    return {
        "macro_f1": float(per_class.mean()),
        **{f"f1_{k}": float(v) for k, v in zip(LABELS, per_class, strict=True)},
    }


def _precision(wanted: str) -> str:
    """Settle what `auto` means on this machine: bf16 where the processor or the GPU computes in it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = torch.cpu.get_capabilities()
    return "bf16" if native.get("avx512_bf16") or native.get("amx_bf16") else "fp32"


def _trainer(
    config: Config,
    model: ClaimTagger,
    train: Dataset,
    dev: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    folder: Path,
) -> ResumableTrainer:
    options = config.train
    precision = _precision(options.precision)
    n_steps = math.ceil(len(train) / (options.batch_size * options.gradient_accumulation)) * options.epochs
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=seed,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=4 * options.batch_size,
        gradient_accumulation_steps=options.gradient_accumulation,
        learning_rate=options.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=round(options.warmup * n_steps),
        weight_decay=options.weight_decay,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        label_names=["targets", "claim_targets"],
        remove_unused_columns=False,
        logging_steps=50,
        report_to=config.run.log,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.accelerator.is_available(),  # bf16 without an accelerator wants it said
    )
    return ResumableTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=dev,
        data_collator=Collator(tokenizer.pad_token_id or 0),
        compute_metrics=macro_f1,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=options.patience)],
    )


def remove_trainer_files(folder: Path) -> None:
    """Drop the Trainer's checkpoints once the model was saved; the training curves stay."""
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)
