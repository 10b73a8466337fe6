"""The two engines that run a checkpoint: ONNX Runtime, and PyTorch where it is installed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from yaqin.inference.checkpoint import HEADS_FILE, WEIGHTS_FILE, Checkpoint, Precision
from yaqin.inference.errors import MissingExtraError, YaqinError
from yaqin.inference.inputs import Input

EngineName = Literal["onnx", "torch"]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
_GRAPH_NAMES = {"input_ids", "attention_mask", "token_type_ids", "logits", "claim"}


class Engine(Protocol):
    """Runs the network on one batch."""

    def run(self, batch: "Batch") -> tuple[Floats, Floats]:
        """Compute class logits and claim logits. *Shape:* ``(batch_size, 4)``, ``(batch_size,)``"""


@dataclass(frozen=True)
class Batch:
    """Padded inputs. *Shape:* each ``(batch_size, longest)``"""

    input_ids: Integers
    attention_mask: Integers
    token_type_ids: Integers

    @classmethod
    def pad(cls, inputs: Sequence[Input], pad_id: int) -> "Batch":
        """Pad `inputs` to the longest of them."""
        shape = len(inputs), max(len(item.ids) for item in inputs)
        batch = cls(np.full(shape, pad_id, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64))
        for row, item in enumerate(inputs):
            batch.input_ids[row, : len(item.ids)] = item.ids
            batch.attention_mask[row, : len(item.ids)] = 1
            batch.token_type_ids[row, : len(item.ids)] = item.type_ids
        return batch


class OnnxEngine:
    """Runs an exported graph with ONNX Runtime on the CPU."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision, *, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Without VNNI, sums of two eight-bit products saturate; this picks the kernels that do not (onnxruntime 6004).
        options.add_session_config_entry("session.x64quantprecision", "1")
        path = checkpoint.onnx_file(precision)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's exceptions share no other base
            raise YaqinError(f"{path}: expected an ONNX graph, found a broken file: {error}") from error
        names = {node.name for node in (*self._session.get_inputs(), *self._session.get_outputs())}
        if names != _GRAPH_NAMES:
            raise YaqinError(
                f"{path}: expected a graph with {', '.join(sorted(_GRAPH_NAMES))}, found {', '.join(sorted(names))}"
            )

    def run(self, batch: Batch) -> tuple[Floats, Floats]:
        """Compute class logits and claim logits. *Shape:* ``(batch_size, 4)``, ``(batch_size,)``"""
        inputs = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "token_type_ids": batch.token_type_ids,
        }
        logits, claim = self._session.run(["logits", "claim"], inputs)
        return np.asarray(logits, np.float32), np.asarray(claim, np.float32)


class TorchEngine:
    """Runs the weights of a full checkpoint with PyTorch on CUDA, MPS or the CPU."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision, *, threads: int = 0) -> None:
        if precision == "int8":
            raise YaqinError("the torch engine has fp32 and bf16, not int8: use --engine onnx")
        heads_file, _ = checkpoint.file(HEADS_FILE), checkpoint.file(WEIGHTS_FILE)
        try:
            import torch
            from safetensors.torch import load_file
            from transformers import AutoModelForSequenceClassification
        except ImportError as error:
            raise MissingExtraError("--engine torch", "torch") from error
        self._torch = torch
        if threads:
            torch.set_num_threads(threads)
        self._device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                str(checkpoint.folder),
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
            heads = load_file(heads_file)
            self._claim_weight = heads["claim.weight"].to(self._device, dtype)
            self._claim_bias = heads["claim.bias"].to(self._device, dtype)
        except Exception as error:  # safetensors and transformers raise what they like
            raise YaqinError(
                f"{checkpoint.folder}: expected the weights of a checkpoint, found broken files: {error}"
            ) from error
        self._model = model.eval().to(self._device)

    def run(self, batch: Batch) -> tuple[Floats, Floats]:
        """Compute class logits and claim logits. *Shape:* ``(batch_size, 4)``, ``(batch_size,)``"""
        torch = self._torch
        with torch.inference_mode():
            outputs = self._model(
                input_ids=torch.from_numpy(batch.input_ids).to(self._device),
                attention_mask=torch.from_numpy(batch.attention_mask).to(self._device),
                token_type_ids=torch.from_numpy(batch.token_type_ids).to(self._device),
                output_hidden_states=True,
            )
            first = outputs.hidden_states[-1][:, 0]
            claim = first @ self._claim_weight[0] + self._claim_bias
        return outputs.logits.float().cpu().numpy(), claim.float().cpu().numpy()


def open_engine(
    checkpoint: Checkpoint, name: EngineName = "onnx", precision: Precision | None = None, *, threads: int = 0
) -> Engine:
    """Open an engine; without a precision it is int8 for ONNX and fp32 for PyTorch.

    Args:
        checkpoint: What to run.
        name: Which engine.
        precision: Arithmetic of the weights.
        threads: Of one batch; 0 means all cores.

    Raises:
        YaqinError: The checkpoint does not hold what the engine needs, or an extra is missing.
    """
    if name == "torch":
        return TorchEngine(checkpoint, precision or "fp32", threads=threads)
    return OnnxEngine(checkpoint, precision or "int8", threads=threads)
