"""Writes `tiny/`, a packed checkpoint of a few KB that the tests tag with: python tests/inference/make_tiny.py

It needs the package `onnx`, which the plain install leaves out; what it writes is kept in the repository. The
network is a bag of pieces: masked mean of random embeddings, and two linear heads. Its tags mean nothing, but
they differ between sentences, and padding does not change them.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import BertWordPieceTokenizer

from yaqin.inference.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    LABELS,
    ONNX_FILES,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    CheckpointInfo,
)
from yaqin.inference.text import prepare

FOLDER = Path(__file__).parent / "tiny"
SENTENCES = Path(__file__).parents[2] / "seeds" / "written-train.jsonl"
N_WORDS, WIDTH, MAX_LENGTH = 500, 4, 64


def main() -> None:
    """Write the folder."""
    (FOLDER / "onnx").mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.save(str(FOLDER / TOKENIZER_FILE), pretty=False)
    onnx.save(build_graph(tokenizer.get_vocab_size()), FOLDER / ONNX_FILES["int8"])
    config = {"model_type": "bert", "pad_token_id": tokenizer.token_to_id("[PAD]"), "id2label": dict(enumerate(LABELS))}
    (FOLDER / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    limits = json.dumps({"model_max_length": MAX_LENGTH}, indent=2)
    (FOLDER / TOKENIZER_CONFIG_FILE).write_text(limits + "\n", encoding="utf-8")
    (FOLDER / CARD_FILE).write_text("A checkpoint for tests only: its weights are random.\n", encoding="utf-8")
    quantiles = tuple(round(0.25 + 0.75 * step / 100, 4) for step in range(101))
    info = CheckpointInfo("tiny", "none", MAX_LENGTH, context="previous", confidence_quantiles=quantiles)
    info.save(FOLDER)


def build_tokenizer() -> BertWordPieceTokenizer:
    """Build a tokenizer of AraBERT's kind: single letters, and the most frequent words of our own sentences."""
    rows = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines()]
    words = Counter(word for row in rows for word in prepare(row["text"]).split())
    letters = sorted({letter for word in words for letter in word})
    frequent = sorted(words, key=lambda word: (-words[word], word))[:N_WORDS]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *frequent]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return BertWordPieceTokenizer(vocabulary, lowercase=False, strip_accents=False)


def build_graph(vocabulary_size: int) -> onnx.ModelProto:
    """Build the network with the inputs and outputs of a real checkpoint."""
    random = np.random.default_rng(7)

    def weights(name: str, *shape: int, scale: float = 1.0) -> TensorProto:
        return numpy_helper.from_array(random.normal(scale=scale, size=shape).astype(np.float32), name)

    constants = [
        weights("pieces", vocabulary_size, WIDTH),
        weights("types", 2, WIDTH, scale=0.1),
        weights("classes", WIDTH, len(LABELS), scale=6.0),
        weights("claims", WIDTH, 1, scale=3.0),
        numpy_helper.from_array(np.array([1.0], np.float32), "claim_bias"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
    ]
    nodes = [
        helper.make_node("Gather", ["pieces", "input_ids"], ["piece"]),
        helper.make_node("Gather", ["types", "token_type_ids"], ["type"]),
        helper.make_node("Add", ["piece", "type"], ["sum"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
        helper.make_node("Mul", ["sum", "wide_mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "classes"], ["logits"]),
        helper.make_node("MatMul", ["mean", "claims"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["unbiased"]),
        helper.make_node("Add", ["unbiased", "claim_bias"], ["claim"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)]),
        helper.make_tensor_value_info("claim", TensorProto.FLOAT, ["batch"]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    main()
