"""Export: a full checkpoint to ONNX (fp32 and int8), to its packed form, and back."""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.numpy import save
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from yaqin.inference.checkpoint import (
    HEADS_FILE,
    ONNX_FILES,
    PACKED_FILES,
    WEIGHTS_FILE,
    Checkpoint,
)
from yaqin.inference.errors import YaqinError
from yaqin.inference.tagger import Tagger
from yaqin.training.model import ClaimTagger
from yaqin.training.quantise import dequantised, name_weights, quantise

TOLERANCE = 1e-4
"""Largest difference between the logits of PyTorch and of the fp32 graph."""
_OPSET = 17
_PREFIX = "model.classifier."
_PROBES = (
    "أعلنت الوزارة النتائج.",
    "قد يتأخر وصول القطار، بحسب مصدر في المحطة، إلى ما بعد منتصف الليل.",
    "؟",
)


class _Graph(nn.Module):
    """What the graph computes: class logits and claim logits."""

    def __init__(self, model: ClaimTagger) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.model(input_ids, attention_mask, token_type_ids)
        return outputs["logits"], outputs["claim"]


def export_onnx(folder: Path, *, sentences: Sequence[str] = _PROBES) -> None:
    """Write the fp32 and int8 graphs into a full checkpoint folder and check the first against PyTorch.

    Args:
        folder: The checkpoint.
        sentences: Compared in both engines.

    Raises:
        YaqinError: The folder is no full checkpoint, or the logits differ by more than `TOLERANCE`.
    """
    for name in (WEIGHTS_FILE, HEADS_FILE):
        Checkpoint(folder).file(name)
    path = folder / ONNX_FILES["fp32"]
    path.parent.mkdir(exist_ok=True)
    _export_fp32(ClaimTagger.load(folder, attention="eager"), path)
    quantise(path, folder / ONNX_FILES["int8"])
    checkpoint = Checkpoint(folder)
    inputs = checkpoint.input_encoder().encode(sentences)
    expected = Tagger(checkpoint, engine="torch").logits(inputs)
    found = Tagger(checkpoint, precision="fp32").logits(inputs)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True))
    if difference > TOLERANCE:
        raise YaqinError(
            f"{path}: expected logits within {TOLERANCE} of PyTorch's, found a difference of {difference:.1e}"
        )


def _export_fp32(model: ClaimTagger, path: Path) -> None:
    example = torch.ones(2, 8, dtype=torch.long)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {0: "batch", 1: "length"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of shapes that the dynamic axes cover
        torch.onnx.export(
            _Graph(model).eval(),
            (example, example, torch.zeros_like(example)),
            str(path),
            input_names=names,
            output_names=["logits", "claim"],
            dynamic_axes={**dict.fromkeys(names, axes), "logits": {0: "batch"}, "claim": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,  # the newer exporter needs onnxscript and gives graphs that quantise worse
        )
    graph = onnx.load(path)
    name_weights(graph)
    onnx.save(graph, path)


def pack(folder: Path, target: Path) -> None:
    """Write the inference-only form of a checkpoint: no float weights, the int8 graph only.

    Raises:
        YaqinError: The target holds files, or the checkpoint was not exported.
    """
    checkpoint = Checkpoint(folder)
    files = [checkpoint.file(name) for name in PACKED_FILES]
    _need_empty(target)
    for name, file in zip(PACKED_FILES, files, strict=True):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / name)


def unpack(folder: Path, target: Path) -> None:
    """Turn a packed checkpoint into a full one with dequantised weights, to fine-tune it or open it elsewhere.

    Raises:
        YaqinError: The target holds files, or the graph does not hold every weight.
    """
    checkpoint = Checkpoint(folder)
    graph = onnx.load(checkpoint.onnx_file("int8"))
    weights = {name.removeprefix(_PREFIX).removeprefix("model."): value for name, value in dequantised(graph).items()}
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    missing = sorted(set(model.state_dict()) - set(weights) - {"bert.embeddings.position_ids"})
    if missing:
        raise YaqinError(f"{folder}: expected every weight in the int8 graph, found none for {', '.join(missing[:3])}")
    _need_empty(target)
    target.mkdir(parents=True, exist_ok=True)
    for name in PACKED_FILES:
        if name != ONNX_FILES["int8"]:
            shutil.copyfile(checkpoint.file(name), target / name)
    heads = {key: weights.pop(key) for key in list(weights) if key.startswith("claim.")}
    (target / WEIGHTS_FILE).write_bytes(save(weights, metadata={"format": "pt"}))
    (target / HEADS_FILE).write_bytes(save(heads))
    export_onnx(target)


def _need_empty(folder: Path) -> None:
    if folder.is_file():
        raise YaqinError(f"{folder}: expected a folder to write, found a file")
    if folder.exists() and any(folder.iterdir()):
        raise YaqinError(f"{folder}: expected an empty or new folder, found files in it")
