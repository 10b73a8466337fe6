"""python benchmarks/outlets.py configs/default.toml --set train.epochs=2 --output outlets/

How the tag carries over to outlets that the model has never seen: trains once on all outlets and once without each
group of them, and scores both on the group's development rows. Killed, it goes on where it stopped. Six trainings:
two hours of two cores at two epochs.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from yaqin.inference.errors import YaqinError
from yaqin.inference.tagger import Tagger
from yaqin.training.config import Config, load_config
from yaqin.training.data import LabelledRow, read_rows
from yaqin.training.evaluate import evaluate
from yaqin.training.run import run

GROUPS = {
    "Tunisian radio": ["Jawhara FM"],
    "foreign broadcasters": ["bbcarabicnews", "cnnarabic"],
    "state and party": ["akhbarelyomgate", "Alahram.Newspaper", "fjp"],
    "private dailies": ["almasryalyoum", "ElWatanNews", "shorouknews", "Tahrir.News.Official"],
    "portals and weeklies": ["El.Dostor.News", "elfagr", "masrawy", "officialyoum77"],
}


def measure(config: Config, groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Train with and without each group; give a Markdown table of macro-F1 on its development rows."""
    dev = read_rows(config.data.dev)
    seen = _train(config, "all", [])
    lines = [
        "| outlets | claims | trained on them | not trained on them | loss |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, outlets in groups.items():
        unseen = _train(config, name.replace(" ", "-"), outlets)
        rows = [row for row in dev if row.outlet in outlets]
        with_them, without = _score(seen, rows), _score(unseen, rows)
        n_claims = sum(row.is_claim for row in rows)
        loss = with_them["macro_f1"] - without["macro_f1"]
        lines.append(f"| {name} | {n_claims} | {_shown(with_them)} | {_shown(without)} | {loss:+.3f} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return lines


def _train(config: Config, name: str, outlets: Sequence[str]) -> Tagger:
    content = config.model_dump()
    content["data"]["leave_out"] = list(outlets)
    content["run"] |= {"output": str(Path(config.run.output) / name), "seeds": config.run.seeds[:1]}
    return Tagger.load(run(Config.model_validate(content), name=name, resume=True))


def _score(tagger: Tagger, rows: Sequence[LabelledRow]) -> dict[str, float]:
    scores: dict[str, float] = evaluate(tagger, rows, name="")["overall"]
    return scores


def _shown(scores: dict[str, float]) -> str:
    low, high = scores["macro_f1_interval"]  # type: ignore[misc]
    return f"{scores['macro_f1']:.3f} ({low:.3f} to {high:.3f})"


def main(
    config: Path,
    output: Annotated[Path, typer.Option(help="Folder of the six checkpoints.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="section.key=value")] = None,
) -> None:
    """Measure what outlets cost that the model has never seen."""
    try:
        lines = measure(load_config(config, [*(overrides or ()), f"run.output={output}"]), GROUPS)
    except YaqinError as error:
        sys.exit(f"outlets.py: {error}")
    print("\n".join(lines))


if __name__ == "__main__":
    typer.run(main)
