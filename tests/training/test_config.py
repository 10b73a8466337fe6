"""Configs: every one in the repository is valid, and a wrong one is refused with every mistake named."""

import subprocess
import sys
from pathlib import Path

import pytest

from yaqin.inference.errors import YaqinError
from yaqin.training.config import load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.toml"))


def test_every_config_is_found() -> None:
    assert [path.name for path in CONFIGS] == ["arabert.toml", "default.toml", "quickstart.toml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_is_valid_and_opens_with_its_command(path: Path) -> None:
    assert load_config(path).run.output == f"checkpoints/{path.stem}"
    assert path.read_text(encoding="utf-8").splitlines()[0] == f"# yaqin train configs/{path.name}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(
        '[data]\ntrain = ["a"]\ndev = ["b"]\n[model]\nencoder = "e"\n[run]\noutput = "o"\n', encoding="utf-8"
    )
    return path


def test_overrides_are_read_as_toml(config: Path) -> None:
    loaded = load_config(config, ["train.learning_rate=2e-5", "run.seeds=[1, 2]", "model.encoder=some/folder"])
    assert loaded.train.learning_rate == 2e-5
    assert loaded.run.seeds == [1, 2]
    assert loaded.model.encoder == "some/folder"


def test_every_mistake_is_named_at_once(config: Path) -> None:
    overrides = ["train.epoch=3", 'train.batch_size="16"', "model.max_length=4", "run.seeds=[1, 1]"]
    with pytest.raises(YaqinError, match="4 mistake") as caught:
        load_config(config, overrides)
    for part in ("train.epoch: Extra inputs", "train.batch_size", "model.max_length", "distinct seeds"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=3", "expected section.key=value"),
        ("train.epochs", "expected section.key=value"),
        ("data.train.key=1", "train.key: Extra inputs"),
    ],
)
def test_a_malformed_override_is_refused(config: Path, override: str, message: str) -> None:
    with pytest.raises(YaqinError, match=message):
        load_config(config, [override])


def test_a_run_without_training_rows_is_refused(config: Path) -> None:
    with pytest.raises(YaqinError, match="files under train or written"):
        load_config(config, ["data.train=[]"])


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(YaqinError, match="expected a config file, found nothing"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("[data", encoding="utf-8")
    with pytest.raises(YaqinError, match="expected TOML"):
        load_config(tmp_path / "broken.toml")


def test_a_wrong_config_fails_before_torch_is_imported(config: Path) -> None:
    code = (
        "import sys; from yaqin.training.config import load_config\n"
        f"try: load_config({str(config)!r}, ['train.epoch=3'])\n"
        "except Exception as error: print(type(error).__name__, 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "YaqinError False\n"
