from pathlib import Path

from yaqin.inference.tagger import Tagger
from yaqin.training.data import read_rows
from yaqin.training.evaluate import evaluate

FLOOR = 0.88
"""A little under the figure in the README: another processor may round a doubtful sentence otherwise."""


def test_the_shipped_checkpoint_tells_the_presentations_of_a_proposition_apart(repository: Path) -> None:
    rows = read_rows([repository / "seeds" / "contrast-test.jsonl"])
    scores = evaluate(Tagger.load(), rows, name="shipped")["overall"]
    assert scores["macro_f1"] >= FLOOR
