import json
import runpy
from pathlib import Path

from yaqin.training.config import load_config
from yaqin.training.data import read_rows


def test_each_group_of_outlets_is_scored_by_a_model_that_has_not_seen_it(
    tiny_config: Path, repository: Path, tmp_path: Path
) -> None:
    outlets = runpy.run_path(str(repository / "benchmarks" / "outlets.py"))
    for name in ("train", "test"):
        rows = read_rows([repository / "seeds" / f"written-{name}.jsonl"])[::4]
        numbers = {document: i for i, document in enumerate(dict.fromkeys(row.document for row in rows))}
        lines = [
            json.dumps(
                row.model_dump(exclude_none=True) | {"outlet": "النهار" if numbers[row.document] % 2 else "البيدر"}
            )
            for row in rows
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    overrides = [
        f'data.written=["{tmp_path / "train.jsonl"}"]',
        f'data.dev=["{tmp_path / "test.jsonl"}"]',
        f"run.output={tmp_path / 'out'}",
        "train.epochs=1",
    ]
    table = outlets["measure"](load_config(tiny_config, overrides), {"one": ["النهار"], "the other": ["البيدر"]})
    assert [line.split(" | ")[0] for line in table[2:]] == ["| one", "| the other"]
    assert sum(int(line.split(" | ")[1]) for line in table[2:]) == sum(
        row.is_claim for row in read_rows([tmp_path / "test.jsonl"])
    )
    trained = json.loads((tmp_path / "out" / "the-other" / "run.json").read_text(encoding="utf-8"))
    assert trained["data"]["leave_out"] == ["البيدر"]
