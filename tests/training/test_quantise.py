"""Rounding to eight bits: how far a weight and a score may move, and that neighbours move neither."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from yaqin.inference.checkpoint import ONNX_FILES, Checkpoint
from yaqin.inference.tagger import Tagger
from yaqin.training.quantise import TRANSPOSED, dequantised


@pytest.fixture(scope="module")
def graph(tiny_checkpoint: Path) -> onnx.ModelProto:
    return onnx.load(tiny_checkpoint / ONNX_FILES["int8"])


def test_every_weight_comes_back_within_half_a_step_of_its_column(
    tiny_checkpoint: Path, graph: onnx.ModelProto
) -> None:
    full = onnx.load(tiny_checkpoint / ONNX_FILES["fp32"])
    products = [t for t in full.graph.initializer if t.name.endswith(TRANSPOSED)]
    assert len(products) == 2 * 6  # two layers: query, key, value, output, intermediate, output
    found = dequantised(graph)
    for tensor in products:
        original = numpy_helper.to_array(tensor)
        restored = found[tensor.name.removesuffix(TRANSPOSED) + ".weight"].T
        step = np.abs(original).max(axis=0) / 127
        assert (np.abs(restored - original) <= step / 2 + 1e-7).all()
        assert not np.array_equal(restored, original)


def test_every_product_with_a_weight_matrix_is_taken_in_integers(graph: onnx.ModelProto) -> None:
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 12
    assert kinds.count("QuantizeLinear") == 2 * 4  # query, key and value share theirs
    assert kinds.count("MatMul") == 2 * 2  # attention itself, which has no weights


def test_neighbours_in_a_batch_do_not_move_a_score_of_the_int8_graph(
    tiny_checkpoint: Path, written: list[dict[str, str]]
) -> None:
    checkpoint = Checkpoint(tiny_checkpoint)
    inputs = checkpoint.input_encoder().encode([row["text"] for row in written[:60]])
    tagger = Tagger(checkpoint, precision="int8")
    together = tagger.logits(inputs)[0]
    alone = np.concatenate([tagger.logits([one])[0] for one in inputs])
    # Sums of attention end in other last digits, which may round one activation the other way.
    assert np.abs(together - alone).max() < 2e-3 * np.abs(alone).max()
