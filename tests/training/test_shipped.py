from pathlib import Path

import pytest

from yaqin.inference.tagger import Tagger
from yaqin.training.data import read_rows
from yaqin.training.evaluate import evaluate


@pytest.mark.parametrize(("test", "floor"), [("contrast", 0.88), ("articles", 0.71)])
def test_the_shipped_checkpoint_reads_other_countries_papers(repository: Path, test: str, floor: float) -> None:
    """Floors lie a little under the README's figures: another processor may round a doubtful sentence otherwise."""
    rows = read_rows([repository / "seeds" / f"{test}-test.jsonl"])
    scores = evaluate(Tagger.load(), rows, name="shipped")["overall"]
    assert scores["macro_f1"] >= floor
