"""The checkpoint folder: the one module that knows its file names and what they must say."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from yaqin.inference import text
from yaqin.inference.errors import YaqinError
from yaqin.inference.inputs import Context, InputEncoder

LABELS = ("confirmed", "attributed", "hedged", "unverified")
"""The four tags in the order of the model's outputs."""
NO_CLAIM = "none"
"""The fifth annotation: a segment without a claim. Its tag is null."""
SCHEMA_VERSION = 1

DEFAULT = "default"
INFO_FILE = "yaqin.json"
CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
WEIGHTS_FILE = "model.safetensors"
HEADS_FILE = "heads.safetensors"
CARD_FILE = "README.md"
Precision = Literal["fp32", "int8", "bf16"]
ONNX_FILES = {"fp32": "onnx/model.onnx", "int8": "onnx/model_int8.onnx"}
PACKED_FILES = (CONFIG_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, INFO_FILE, CARD_FILE, ONNX_FILES["int8"])
_PACKAGED = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True)
class CheckpointInfo:
    """What `yaqin.json` says of a checkpoint.

    Attributes:
        name: Name of the run that made it.
        base_model: The encoder it was fine-tuned from, for people.
        max_length: Longest input in pieces, special ones included.
        context: Whether the sentence before is read as well.
        context_length: At most so many of its pieces.
        temperature: The class logits are divided by it before the softmax (Guo et al. 2017).
        claim_threshold: Below this claim probability a segment gets no tag.
        confidence_quantiles: Highest class probability over development claims at 0, 1, … 100 %.
        labels: The tags in output order.
        preparation: Name of the text preparation, and its version.
        config: The resolved training config.
        data: SHA-256 of each data file it was trained or chosen on.
        scores: Scores of the engine that ships, on development data.
    """

    name: str
    base_model: str
    max_length: int
    context: Context = "none"
    context_length: int = 32
    temperature: float = 1.0
    claim_threshold: float = 0.5
    confidence_quantiles: tuple[float, ...] = ()
    labels: tuple[str, ...] = LABELS
    preparation: str = text.PREPARATION
    preparation_version: int = text.VERSION
    schema_version: int = SCHEMA_VERSION
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `yaqin.json` into `folder`."""
        body = json.dumps(asdict(self), ensure_ascii=False, indent=2)
        (folder / INFO_FILE).write_text(body + "\n", encoding="utf-8")

    def withheld_below(self, fraction: float) -> float:
        """Give the confidence under which the least certain `fraction` of development claims lies."""
        if not self.confidence_quantiles:
            raise YaqinError("this checkpoint has no confidence quantiles, so nothing can be withheld")
        return float(np.interp(fraction * 100, range(101), self.confidence_quantiles))


class Checkpoint:
    """A checkpoint folder whose labels, versions and files have been checked.

    Loading reads JSON, a tokenizer and later ONNX or safetensors: it never unpickles, never runs code from
    the folder and never touches the network.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise YaqinError(
                f"{folder}: expected a checkpoint folder, found {'a file' if folder.exists() else 'nothing'}"
            )
        self.folder = folder
        self.info = _read_info(folder)

    @classmethod
    def find(cls, name_or_folder: str | Path | None = None) -> "Checkpoint":
        """Open a folder, or a checkpoint inside the package by its name; none means the default one.

        Raises:
            YaqinError: Nothing is there, or its labels or versions are not those of this yaqin.
        """
        if name_or_folder and Path(name_or_folder).is_dir():
            return cls(Path(name_or_folder))
        name = str(name_or_folder or DEFAULT)
        packaged = sorted(p.name for p in _PACKAGED.iterdir() if p.is_dir()) if _PACKAGED.is_dir() else []
        if name in packaged:
            return cls(_PACKAGED / name)
        raise YaqinError(
            f"{name}: expected a checkpoint folder or the name of a packaged checkpoint "
            f"({', '.join(packaged) or 'there is none'}), found neither"
        )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the encoder."""
        path = self.file(TOKENIZER_FILE)
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise YaqinError(f"{path}: expected a tokenizer, found a broken file ({error})") from error

    @property
    def pad_id(self) -> int:
        """Id of the padding piece."""
        path = self.file(CONFIG_FILE)
        value = _read_json(path).get("pad_token_id") or 0
        if not isinstance(value, int):
            raise YaqinError(f"{path}: expected a whole number in pad_token_id, found {value!r}")
        return value

    def input_encoder(self) -> InputEncoder:
        """Build what turns sentences into piece ids for this checkpoint."""
        info = self.info
        return InputEncoder(
            self.tokenizer,
            max_length=info.max_length,
            context=info.context,
            context_length=info.context_length,
        )

    def onnx_file(self, precision: Precision) -> Path:
        """Give the ONNX graph of `precision`."""
        if precision not in ONNX_FILES:
            raise YaqinError(f"the onnx engine has fp32 and int8, not {precision}: use --engine torch")
        return self.file(ONNX_FILES[precision])

    def file(self, name: str) -> Path:
        """Give the path of a file that must be there."""
        path = self.folder / name
        if path.is_file():
            return path
        if name in (WEIGHTS_FILE, HEADS_FILE, ONNX_FILES["fp32"]) and (self.folder / ONNX_FILES["int8"]).is_file():
            raise YaqinError(
                f"{self.folder}: a packed checkpoint holds the int8 ONNX graph only and no {name}: use "
                f"--engine onnx --precision int8, or make it full with 'yaqin export {self.folder} --full DIR'"
            )
        raise YaqinError(f"{self.folder}: expected {name} in the checkpoint, found none")

    @cached_property
    def sha256(self) -> str:
        """Hash over every file that can change a tag."""
        digest = hashlib.sha256()
        names = (INFO_FILE, TOKENIZER_FILE, WEIGHTS_FILE, HEADS_FILE, *ONNX_FILES.values())
        for name in names:
            if (self.folder / name).is_file():
                digest.update(name.encode())
                digest.update(file_sha256(self.folder / name).encode())
        return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Hash a file without reading it whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise YaqinError(f"{path}: expected JSON, found a file that cannot be read as such ({error})") from error
    if not isinstance(content, dict):
        raise YaqinError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _read_info(folder: Path) -> CheckpointInfo:
    path = folder / INFO_FILE
    if not path.is_file():
        raise YaqinError(f"{folder}: expected {INFO_FILE} in the folder of a checkpoint, found none")
    content = _read_json(path)
    expected = {
        "schema_version": SCHEMA_VERSION,
        "preparation": text.PREPARATION,
        "preparation_version": text.VERSION,
    }
    for key, value in expected.items():
        if content.get(key) != value:
            raise YaqinError(f"{path}: expected {key} {value!r}, found {content.get(key)!r}: made by another yaqin")
    if content.get("labels") != list(LABELS):
        raise YaqinError(
            f"{path}: expected the labels {', '.join(LABELS)} in this order, found {content.get('labels')}"
        )
    for key, (wanted, fits) in _FITS.items():
        if key in content and not fits(content[key]):
            raise YaqinError(f"{path}: expected {wanted} in {key}, found {content[key]!r}")
    content["labels"] = LABELS
    content["confidence_quantiles"] = tuple(content.get("confidence_quantiles", ()))
    try:
        return CheckpointInfo(**content)
    except TypeError as error:
        names = {f.name for f in fields(CheckpointInfo)}
        raise YaqinError(f"{path}: unknown or missing entries: {sorted(set(content) ^ names)}") from error


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


_FITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "max_length": ("a whole number from 3", lambda v: isinstance(v, int) and _is_number(v, 3, 1e6)),
    "context": ("none or previous", lambda v: v in ("none", "previous")),
    "context_length": ("a whole number from 0", lambda v: isinstance(v, int) and _is_number(v, 0, 1e6)),
    "temperature": ("a number over 0", lambda v: _is_number(v, 1e-6, 1e6)),
    "claim_threshold": ("a number from 0 to 1", lambda v: _is_number(v, 0, 1)),
    "confidence_quantiles": (
        "no or 101 numbers from 0 to 1",
        lambda v: isinstance(v, list) and len(v) in (0, 101) and all(_is_number(q, 0, 1) for q in v),
    ),
}
"""What the entries that tagging uses must be."""
