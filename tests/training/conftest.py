"""A tiny BERT with a WordPiece tokenizer, and a checkpoint trained from it by the real command."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from yaqin.training.cli import app

TINY_CONFIG = """
[data]
written = ["{train}"]
dev = ["{dev}"]
[model]
encoder = "{encoder}"
max_length = 64
[train]
epochs = 2
learning_rate = 1e-3
evidence_weight = 0.3
[run]
output = "{output}"
"""


@pytest.fixture(scope="session")
def written(repository: Path) -> list[dict[str, str]]:
    lines = (repository / "seeds" / "written-train.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, written: list[dict[str, str]]) -> Path:
    """A random BERT of AraBERT's kind: WordPiece, pair types 0 and 1."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast, set_seed

    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = BertWordPieceTokenizer(lowercase=False, strip_accents=False)
    tokenizer.train_from_iterator((row["text"] for row in written), vocab_size=900, show_progress=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    fast = BertTokenizerFast(tokenizer_object=tokenizer._tokenizer, model_max_length=128)
    fast.save_pretrained(folder)
    set_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(fast), max_position_embeddings=128, **size)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    path = folder / "tiny.toml"
    content = TINY_CONFIG.format(
        train=repository / "seeds" / "written-train.jsonl",
        dev=repository / "seeds" / "written-test.jsonl",
        encoder=tiny_encoder,
        output=folder / "checkpoint",
    )
    path.write_text(content, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_config: Path) -> Path:
    """A full checkpoint as `yaqin train` writes it."""
    result = CliRunner().invoke(app, ["train", str(tiny_config)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return tiny_config.parent / "checkpoint"
