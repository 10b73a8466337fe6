"""Export: a full checkpoint to ONNX (fp32 and int8), to its packed form, and back."""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
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

TOLERANCE = 1e-4
"""Largest difference between the logits of PyTorch and of the fp32 graph."""
_OPSET = 17
_PREFIX = "model.classifier."
_TRANSPOSED = ".weight_Transposed"  # as onnxruntime names those that it transposes itself
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
        YaqinError: The logits differ by more than `TOLERANCE`.
    """
    path = folder / ONNX_FILES["fp32"]
    path.parent.mkdir(exist_ok=True)
    _export_fp32(ClaimTagger.load(folder, attention="eager"), path)
    _quantise(path, folder / ONNX_FILES["int8"])
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
    _name_weights(graph)
    onnx.save(graph, path)


def _name_weights(model: onnx.ModelProto) -> None:
    """Name each transposed weight after its module, so that a packed checkpoint can be made full again."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".") + _TRANSPOSED
            constants[node.input[1]].name = name
            node.input[1] = name


def _quantise(source: Path, target: Path) -> None:
    """Quantise the weights of matrix products to int8 and store the embeddings as float16.

    Per channel and with seven bits: on processors without VNNI the products of eight-bit weights saturate
    (onnxruntime issue 6004).
    """
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    model = onnx.load(target)
    _halve_embeddings(model)
    onnx.save(model, target)


def _halve_embeddings(model: onnx.ModelProto) -> None:
    """Store looked-up tables as float16 and cast what is looked up."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type != "Gather" or node.input[0] not in constants:
            continue
        table = constants[node.input[0]]
        if table.data_type == TensorProto.FLOAT:
            table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table).astype(np.float16), table.name))
        if table.data_type == TensorProto.FLOAT16:
            half = node.output[0] + "_half"
            cast = helper.make_node("Cast", [half], [node.output[0]], to=TensorProto.FLOAT)
            node.output[0] = half
            model.graph.node.insert(list(model.graph.node).index(node) + 1, cast)


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
    weights = _dequantised(onnx.load(checkpoint.onnx_file("int8")))
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
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


def _dequantised(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Collect the weights of an int8 graph under the names of their modules, as float32."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if name.endswith(_TRANSPOSED + "_quantized"):
            base = name.removesuffix("_quantized")
            zero = tensors[base + "_zero_point"].astype(np.float32)
            real = (value.astype(np.float32) - zero) * tensors[base + "_scale"]
            weights[base.removesuffix(_TRANSPOSED) + ".weight"] = np.ascontiguousarray(real.T)
        elif name.endswith(_TRANSPOSED):
            weights[name.removesuffix(_TRANSPOSED) + ".weight"] = np.ascontiguousarray(value.T)
        elif name.endswith((".weight", ".bias")):
            weights[name] = value.astype(np.float32)
    return {name.removeprefix(_PREFIX).removeprefix("model."): value for name, value in weights.items()}


def _need_empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise YaqinError(f"{folder}: expected an empty or new folder, found files in it")
