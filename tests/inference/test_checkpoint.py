"""A checkpoint folder is opened as it was saved, and one that does not fit is refused with the reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yaqin.inference import checkpoint as checkpoint_module
from yaqin.inference.checkpoint import LABELS, ONNX_FILES, PACKED_FILES, Checkpoint, CheckpointInfo
from yaqin.inference.errors import YaqinError
from yaqin.inference.tagger import Tagger

INT8 = ONNX_FILES["int8"]


@pytest.fixture
def changed(tiny_copy: Path) -> Callable[..., Path]:
    """Change entries of `yaqin.json`; None takes one out."""

    def change(**entries: Any) -> Path:
        path = tiny_copy / "yaqin.json"
        content = json.loads(path.read_text(encoding="utf-8")) | entries
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}), encoding="utf-8")
        return tiny_copy

    return change


def test_what_is_saved_is_loaded_alike(tmp_path: Path) -> None:
    info = CheckpointInfo(
        "n", "b", 128, context="previous", temperature=1.5, confidence_quantiles=(0.5,) * 101, config={"a": {"b": [1]}}
    )
    info.save(tmp_path)
    assert Checkpoint(tmp_path).info == info


def test_the_tiny_checkpoint_is_packed(tiny_packed: Path) -> None:
    held = {path.relative_to(tiny_packed).as_posix() for path in tiny_packed.rglob("*") if path.is_file()}
    assert held == set(PACKED_FILES)


def test_another_label_set_or_order_is_refused(changed: Callable[..., Path]) -> None:
    for labels in (["fact", "rumour"], list(LABELS[::-1]), [*LABELS, "none"]):
        with pytest.raises(YaqinError, match=r"expected the labels confirmed, attributed, .* in this order, found \["):
            Checkpoint(changed(labels=labels))


@pytest.mark.parametrize("key", ["schema_version", "preparation", "preparation_version"])
def test_another_version_is_refused(changed: Callable[..., Path], key: str) -> None:
    with pytest.raises(YaqinError, match=rf"expected {key} .*, found 99: made by another yaqin"):
        Checkpoint(changed(**{key: 99}))
    with pytest.raises(YaqinError, match=rf"expected {key} .*, found None: made by another yaqin"):
        Checkpoint(changed(**{key: None}))


def test_unknown_and_missing_entries_are_named(changed: Callable[..., Path]) -> None:
    with pytest.raises(YaqinError, match=r"unknown or missing entries: .*'colour'"):
        Checkpoint(changed(colour="blue"))
    with pytest.raises(YaqinError, match=r"unknown or missing entries: .*'max_length'"):
        Checkpoint(changed(max_length=None))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_length", "192"),
        ("max_length", 0),
        ("context", "next"),
        ("temperature", 0),
        ("claim_threshold", "0.5"),
        ("claim_threshold", True),
        ("confidence_quantiles", [0.5]),
        ("confidence_quantiles", "no"),
    ],
)
def test_an_entry_that_tagging_could_not_use_is_refused(changed: Callable[..., Path], key: str, value: Any) -> None:
    with pytest.raises(YaqinError, match=rf"expected .* in {key}, found"):
        Checkpoint(changed(**{key: value}))


def test_labels_that_are_no_list_are_refused(changed: Callable[..., Path]) -> None:
    for labels in (7, None, "confirmed"):
        with pytest.raises(YaqinError, match="expected the labels"):
            Checkpoint(changed(labels=labels))


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_broken_description_is_refused(tiny_copy: Path, content: str) -> None:
    (tiny_copy / "yaqin.json").write_text(content)
    with pytest.raises(YaqinError, match=r"yaqin\.json: expected (JSON|a JSON object), found"):
        Checkpoint(tiny_copy)


@pytest.mark.parametrize("name", ["yaqin.json", "tokenizer.json", "config.json", INT8])
def test_a_missing_file_is_named(tiny_copy: Path, name: str) -> None:
    (tiny_copy / name).unlink()
    with pytest.raises(YaqinError, match=rf"expected {name} in .*, found none"):
        Tagger.load(tiny_copy)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("name", "what"), [("tokenizer.json", "a tokenizer"), (INT8, "an ONNX graph")])
def test_a_corrupted_file_is_refused(tiny_copy: Path, name: str, what: str, share: float) -> None:
    content = (tiny_copy / name).read_bytes()
    (tiny_copy / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(YaqinError, match=rf"{name}: expected {what}, found a broken file"):
        Tagger.load(tiny_copy)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"engine": "torch"}, r"holds the int8 ONNX graph only and no .*: use --engine onnx --precision int8, or"),
        ({"engine": "torch", "precision": "int8"}, r"the torch engine has fp32 and bf16, not int8: use --engine onnx"),
        ({"precision": "fp32"}, r"holds the int8 ONNX graph only and no onnx/model\.onnx"),
        ({"precision": "bf16"}, r"the onnx engine has fp32 and int8, not bf16: use --engine torch"),
    ],
)
def test_what_a_packed_checkpoint_cannot_do_is_refused_with_the_reason(
    tiny_packed: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(YaqinError, match=reason):
        Tagger.load(tiny_packed, **options)


def test_nothing_and_a_file_are_no_checkpoint(tmp_path: Path, tiny_packed: Path) -> None:
    with pytest.raises(YaqinError, match=r"nowhere: expected a checkpoint folder or the name of a packaged checkpoint"):
        Checkpoint.find(tmp_path / "nowhere")
    with pytest.raises(YaqinError, match=r"expected a checkpoint folder, found a file"):
        Checkpoint(tiny_packed / "yaqin.json")
    with pytest.raises(YaqinError, match=r"expected yaqin\.json in the folder of a checkpoint, found none"):
        Checkpoint.find(tmp_path)


def test_a_name_is_a_packaged_checkpoint_and_a_folder_a_folder(
    tiny_packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("default", "second"):
        shutil.copytree(tiny_packed, tmp_path / "packaged" / name)
    monkeypatch.setattr(checkpoint_module, "_PACKAGED", tmp_path / "packaged")
    monkeypatch.chdir(tmp_path)
    assert Checkpoint.find().folder == tmp_path / "packaged" / "default"
    assert Checkpoint.find("second").folder == tmp_path / "packaged" / "second"
    assert Checkpoint.find("packaged/second").folder == Path("packaged/second")
    with pytest.raises(YaqinError, match=r"aubmindlab/bert: expected .* \(default, second\), found neither"):
        Checkpoint.find("aubmindlab/bert")


@pytest.mark.parametrize("name", ["yaqin.json", "tokenizer.json", INT8])
def test_the_hash_changes_with_every_file_that_can_change_a_tag(tiny_copy: Path, name: str) -> None:
    before = Checkpoint(tiny_copy).sha256
    with (tiny_copy / name).open("ab") as file:
        file.write(b"\n")
    assert Checkpoint(tiny_copy).sha256 != before


def test_the_hash_stays_where_the_folder_moves(tiny_copy: Path, tiny_packed: Path) -> None:
    assert Checkpoint(tiny_copy).sha256 == Checkpoint(tiny_packed).sha256


def test_the_withheld_fraction_is_read_from_the_quantiles(changed: Callable[..., Path]) -> None:
    quantiles = [0.2 + step * 0.008 for step in range(101)]
    info = Checkpoint(changed(confidence_quantiles=quantiles)).info
    assert info.withheld_below(0.25) == pytest.approx(0.4)
    with pytest.raises(YaqinError, match="no confidence quantiles, so nothing can be withheld"):
        Checkpoint(changed(confidence_quantiles=[])).info.withheld_below(0.25)
