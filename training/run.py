"""A whole run: from a config to the checkpoint folder of its best seed."""

import gzip
import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yaqin.inference.checkpoint import CARD_FILE, INFO_FILE, LABELS, Checkpoint, CheckpointInfo
from yaqin.inference.errors import YaqinError
from yaqin.inference.tagger import Tagger, softmax
from yaqin.training import calibrate
from yaqin.training.card import model_card
from yaqin.training.config import CalibrateSection, Config
from yaqin.training.data import LabelledRow, read_rows, refuse_leakage, refuse_taught
from yaqin.training.evaluate import evaluate, write_report
from yaqin.training.export import export_onnx
from yaqin.training.train import fit, remove_trainer_files

EVALUATION_FOLDER = "evaluation"
SEEDS_FILE = "seeds.json"
RUN_FILE = "run.json"
_log = logging.getLogger(__name__)


def run(config: Config, *, name: str, resume: bool = False) -> Path:
    """Fine-tune every seed of a config, keep the best as the checkpoint and give its folder.

    Args:
        config: The run.
        name: Of the checkpoint.
        resume: Go on with what an interrupted run left in the output folder.

    Raises:
        YaqinError: Data or encoder are not as they must be, or the output folder is in use.
    """
    output = Path(config.run.output)
    if output.is_file():
        raise YaqinError(f"{output}: expected a folder as run.output, found a file")
    if output.exists() and any(output.iterdir()) and not resume:
        raise YaqinError(f"{output}: expected a new or empty run.output, found files: add --resume or choose another")
    train_rows = _left_in(read_rows([*config.data.train, *config.data.written]), config.data.leave_out)
    dev_rows = read_rows(config.data.dev)
    refuse_leakage(train_rows, dev_rows, near_duplicate=config.data.near_duplicate)
    _refuse_unfit_dev(dev_rows, config.calibrate)
    _refuse_another_run(config, output)
    scores: dict[int, float] = {}
    for seed in config.run.seeds:
        folder = output / f"seed-{seed}"
        if not (folder / INFO_FILE).is_file():
            _log.warning("training seed %d on %d rows", seed, len(train_rows))
            _train_seed(config, name, seed, folder, train_rows, dev_rows, resume=resume)
        scores[seed] = Checkpoint(folder).info.scores["macro_f1"]
    _promote(output, max(scores, key=lambda seed: scores[seed]))
    body = {
        "macro_f1": scores,
        "mean": float(np.mean(list(scores.values()))),
        "std": float(np.std(list(scores.values()))),
    }
    (output / SEEDS_FILE).write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    return output


def _left_in(rows: Sequence[LabelledRow], outlets: Sequence[str]) -> list[LabelledRow]:
    """Drop the rows of some outlets; refuse names that no row has, which a typing error would be."""
    if unknown := set(outlets) - {row.outlet for row in rows}:
        raise YaqinError(f"data.leave_out: expected outlets of training rows, found {', '.join(sorted(unknown))}")
    left = [row for row in rows if row.outlet not in outlets]
    if not left:
        raise YaqinError("data.leave_out: expected some rows of other outlets, found none")
    return left


def _refuse_unfit_dev(rows: Sequence[LabelledRow], options: CalibrateSection) -> None:
    """Refuse development rows that nothing can be fitted on, before hours of training rather than after."""
    refuse_taught(rows)
    documents = {row.document or str(i) for i, row in enumerate(rows) if row.is_claim}
    least = options.folds if options.method == "temperature" else 1
    if len(documents) < least:
        raise YaqinError(
            f"data.dev: expected claims of at least {least} documents (calibrate.folds), found {len(documents)}"
        )


def _refuse_another_run(config: Config, output: Path) -> None:
    """Note config and data in the output folder; refuse to go on with what others have begun there."""
    path = output / RUN_FILE
    expected = json.loads(config.model_dump_json(exclude={"run"})) | {"hashes": _hashes(config)}
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        different = sorted(key for key in expected if found.get(key) != expected[key])
        if different:
            raise YaqinError(
                f"{output}: holds another run; different: {', '.join(different)}. Choose another run.output"
            )
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")


def _train_seed(
    config: Config,
    name: str,
    seed: int,
    folder: Path,
    train_rows: Sequence[LabelledRow],
    dev_rows: Sequence[LabelledRow],
    *,
    resume: bool,
) -> None:
    """Train one seed; `yaqin.json` is the last file to appear, so its presence means that all is there."""
    trainer_folder = folder / "trainer"
    model, tokenizer, _ = fit(config, train_rows, dev_rows, seed=seed, folder=trainer_folder, resume=resume)
    staged = folder / "staged"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    model.save(staged)
    tokenizer.save_pretrained(staged)
    info = CheckpointInfo(
        name=name,
        base_model=config.model.encoder,
        max_length=config.model.max_length,
        context=config.model.context,
        context_length=config.model.context_length,
        config={**config.model_dump(mode="json"), "seed": seed},
        data=_hashes(config),
    )
    finish_checkpoint(staged, info, config, train_rows, dev_rows)
    (staged / INFO_FILE).rename(staged / f"{INFO_FILE}.last")
    for path in staged.iterdir():
        path.replace(folder / path.name.removesuffix(".last"))
    staged.rmdir()
    remove_trainer_files(trainer_folder)


def finish_checkpoint(
    folder: Path,
    info: CheckpointInfo,
    config: Config,
    train_rows: Sequence[LabelledRow],
    dev_rows: Sequence[LabelledRow],
) -> None:
    """Export, calibrate and evaluate saved weights with the engine that ships, and write the card."""
    info.save(folder)
    export_onnx(folder)
    info = _calibrated(folder, info, config, dev_rows)
    info.save(folder)
    report = evaluate(Tagger.load(folder), dev_rows, train=train_rows, name=info.name)
    write_report(report, folder / EVALUATION_FOLDER)
    info = replace(info, scores={**report["overall"], **info.scores})
    info.save(folder)
    (folder / CARD_FILE).write_text(model_card(info, report), encoding="utf-8")


def _calibrated(folder: Path, info: CheckpointInfo, config: Config, dev_rows: Sequence[LabelledRow]) -> CheckpointInfo:
    """Fit temperature, claim threshold and confidence quantiles on the development rows."""
    checkpoint = Checkpoint(folder)
    inputs = checkpoint.input_encoder().encode([r.text for r in dev_rows], [r.previous for r in dev_rows])
    logits, claims = Tagger(checkpoint).logits(inputs)
    is_claim = np.array([row.is_claim for row in dev_rows])
    gold = np.array([LABELS.index(row.label) for row in dev_rows if row.is_claim])
    documents = [row.document or str(i) for i, row in enumerate(dev_rows) if row.is_claim]
    temperature, scores = 1.0, {}
    if config.calibrate.method == "temperature":
        temperature = calibrate.fit_temperature(logits[is_claim], gold)
        scores["ece_cross_fitted"] = calibrate.cross_fitted_ece(
            logits[is_claim], gold, documents, config.calibrate.folds
        )
    probabilities = softmax(logits[is_claim] / temperature)
    threshold = calibrate.fit_claim_threshold(1 / (1 + np.exp(-claims.astype(np.float64))), is_claim)
    quantiles = tuple(float(q) for q in calibrate.confidence_quantiles(probabilities))
    return replace(
        info,
        temperature=temperature,
        claim_threshold=threshold,
        confidence_quantiles=quantiles,
        scores=scores,
    )


def _hashes(config: Config) -> dict[str, str]:
    """Hash what the data files hold; two ways of compressing the same rows give the same hash."""
    hashes = {}
    for path in [*config.data.train, *config.data.written, *config.data.dev]:
        with gzip.open(path) if path.endswith(".gz") else Path(path).open("rb") as file:
            hashes[path] = hashlib.sha256(file.read()).hexdigest()
    return hashes


def _promote(output: Path, seed: int) -> None:
    """Copy the best seed's checkpoint to the output folder itself."""
    best = output / f"seed-{seed}"
    shutil.copytree(best, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns("trainer"))


def summary(folder: Path) -> dict[str, Any]:
    """Give the lines that are printed when a run is done."""
    info = Checkpoint(folder).info
    return {"checkpoint": str(folder), "macro-F1": info.scores["macro_f1"], "temperature": info.temperature}
