"""The command line: a thin shell over functions of the same names."""

import errno
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from yaqin.inference.checkpoint import Checkpoint, Precision
from yaqin.inference.compressed import STANDARD_INPUT
from yaqin.inference.engines import EngineName
from yaqin.inference.errors import YaqinError
from yaqin.inference.readers import Columns
from yaqin.inference.writers import OutputFormat

EXIT_MISTAKE = 2
EXIT_REJECTED = 3
DEMO_FILE = "yaqin-demo.html"
DEMO_TITLE = "مثال من الأخبار"
_MENDABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
)
"""Errors of the system that the user can mend: no room, no permission, a file where a folder should be."""

app = typer.Typer(
    name="yaqin",
    help="Tags every sentence of Arabic news with how reliably it presents its claim: "
    "confirmed, attributed, hedged or unverified.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

CheckpointOption = Annotated[
    str | None, typer.Option("--checkpoint", metavar="NAME|DIR", help="A packaged checkpoint or a folder.")
]


class Interrupted(BaseException):
    """SIGINT or SIGTERM; what was committed is safe."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def main() -> None:
    """Run the command line with the exit codes of the design."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    for command in entry_points(group="yaqin.commands"):
        app.add_typer(command.load())
    try:
        app()
    except YaqinError as error:
        sys.exit(_complain(str(error)))
    except Interrupted as interruption:
        print(
            "yaqin: interrupted; what was finished in a folder is kept, the same command goes on from there "
            "(yaqin train: with --resume)",
            file=sys.stderr,
        )
        sys.exit(interruption.exit_code)
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        _let_go_of_stdout()
        sys.exit(_complain(f"expected a place to write with room and permission, found: {error}"))


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _complain(message: str) -> int:
    print(f"yaqin: {' '.join(message.splitlines())}", file=sys.stderr)
    return EXIT_MISTAKE


def _let_go_of_stdout() -> None:
    """Drop what could not be written, or Python would try once more at exit and complain (its docs on SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    logging.basicConfig(format="yaqin: %(message)s", level=logging.WARNING)
    if show_version:
        print(version("yaqin"))
        raise typer.Exit


@app.command()
def demo(checkpoint: CheckpointOption = None) -> None:
    """Tag the seed article and write yaqin-demo.html into the current folder."""
    from yaqin.inference.report import seed_article, write_report
    from yaqin.inference.tagger import Article, Tagger
    from yaqin.inference.writers import to_record

    article_id, title, text = seed_article()
    tagger = Tagger.load(checkpoint)
    tagged = list(tagger.tag_articles([Article(article_id, text, title)]))
    records = [to_record(sentence) for article in tagged for sentence in article.sentences]
    path = Path(DEMO_FILE)
    write_report(records, path, title=DEMO_TITLE, checkpoint=tagger.checkpoint.info.name)
    print(f"{len(records)} sentences tagged; open {path.resolve()} in a browser")


@app.command()
def tag(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH…", help="Files or folders of articles; - reads JSON lines.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; without it JSON lines go to standard output.")
    ] = None,
    checkpoint: CheckpointOption = None,
    engine: Annotated[EngineName, typer.Option(help="What runs the network.")] = "onnx",
    precision: Annotated[Precision | None, typer.Option(help="Default: int8 for onnx, fp32 for torch.")] = None,
    output_format: Annotated[OutputFormat, typer.Option("--format", help="Of the tagged sentences.")] = "jsonl",
    text_column: Annotated[str, typer.Option(help="Field of the text.")] = "text",
    title_column: Annotated[str, typer.Option(help="Field of the headline.")] = "title",
    id_column: Annotated[str, typer.Option(help="Field of the id.")] = "id",
    outlet_column: Annotated[str, typer.Option(help="Field of the outlet.")] = "outlet",
    date_column: Annotated[str, typer.Option(help="Field of the date.")] = "date",
    workers: Annotated[int, typer.Option(min=1, help="Processes side by side.")] = 1,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Do every N-th part only, from the I-th on.")] = "1/1",
    sentences: Annotated[bool, typer.Option("--sentences", help="Records are single sentences already.")] = False,
    append: Annotated[bool, typer.Option("--append", help="Tag only what the folder does not hold yet.")] = False,
    withhold: Annotated[float, typer.Option(min=0, max=1, help="Mark this least certain fraction as uncertain.")] = 0.0,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page as well (with --output).")] = None,
) -> None:
    """Tag articles sentence by sentence."""
    from yaqin.inference.parts import Options
    from yaqin.inference.records import find_inputs

    found = find_inputs(paths, output=output)
    columns = Columns(text_column, title_column, id_column, outlet_column, date_column)
    precision = precision or ("fp32" if engine == "torch" else "int8")
    options = Options(engine, precision, output_format, sentences, withhold, columns)
    opened = Checkpoint.find(checkpoint)
    if output is None:
        if output_format != "jsonl" or append or report or shard != "1/1" or workers != 1:
            raise YaqinError("--format, --append, --report, --shard and --workers need --output DIR")
        n_rejected = _tag_to_stdout(found, opened, options)
    else:
        if report and output_format != "jsonl":
            raise YaqinError(f"--report: expected --format jsonl, found {output_format}")
        with _spooled(found) as inputs:
            n_rejected = _tag_to_folder(inputs, output, opened, options, workers, _parse_shard(shard), append)
        if report:
            _write_report(output, report, opened)
    if n_rejected:
        raise typer.Exit(EXIT_REJECTED)


def _parse_shard(shard: str) -> tuple[int, int]:
    i, slash, n = shard.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise YaqinError(f"--shard: expected I/N with 1 ≤ I ≤ N, found {shard!r}")
    return int(i), int(n)


@contextmanager
def _spooled(inputs: list[tuple[Path, str]]) -> Iterator[list[tuple[Path, str]]]:
    """Keep standard input in a file, since a folder's inputs are read more than once."""
    with tempfile.TemporaryDirectory() as folder:
        spooled = []
        for path, name in inputs:
            if str(path) == STANDARD_INPUT:
                path = Path(folder) / "input.jsonl"
                with path.open("wb") as file:
                    shutil.copyfileobj(sys.stdin.buffer, file)
            spooled.append((path, name))
        yield spooled


def _tag_to_folder(
    inputs: list[tuple[Path, str]],
    output: Path,
    checkpoint: Checkpoint,
    options: Any,
    workers: int,
    shard: tuple[int, int],
    append: bool,
) -> int:
    from yaqin.inference.corpus import Job, tag_corpus
    from yaqin.inference.parts import REJECTED_FILE
    from yaqin.inference.records import read_records
    from yaqin.inference.terminal import progress_bar

    n_records = None
    if sys.stderr.isatty():
        n_records = sum(1 for _ in read_records(inputs, options.columns, sentences=options.sentences, warn=False))
    job = Job(inputs, output, checkpoint, options, workers, shard, append)
    with progress_bar(n_records) as progress:
        counts = tag_corpus(job, progress)
    held = f", {counts.already_held} already held" if append else ""
    print(
        f"{counts.records} records: {counts.tagged} tagged ({counts.sentences} sentences), "
        f"{counts.rejected} rejected{held}; {output}",
        file=sys.stderr,
    )
    if counts.rejected:
        print(f"yaqin: see {output}/part-*/{REJECTED_FILE} for the reasons", file=sys.stderr)
    return counts.rejected


def _tag_to_stdout(inputs: list[tuple[Path, str]], checkpoint: Checkpoint, options: Any) -> int:
    """Stream tagged sentences to standard output; a terminal gets a readable view."""
    from rich.console import Console

    from yaqin.inference.readers import Rejected
    from yaqin.inference.records import read_records
    from yaqin.inference.tagger import Article, Tagger
    from yaqin.inference.terminal import show
    from yaqin.inference.writers import to_line, to_record

    tagger = Tagger(checkpoint, engine=options.engine, precision=options.precision, withhold=options.withhold)
    n_records = n_rejected = 0

    def articles() -> Iterator[Article]:
        nonlocal n_records, n_rejected
        for record in read_records(inputs, options.columns, sentences=options.sentences):
            n_records += 1
            if isinstance(record, Rejected):
                n_rejected += 1
                print(
                    f"yaqin: {record.file}:{record.line}: {record.reason}; the record was rejected",
                    file=sys.stderr,
                )
            else:
                yield record

    console = Console() if sys.stdout.isatty() else None  # rich takes FORCE_COLOR for a terminal, a pipe wants JSON
    for tagged in tagger.tag_articles(articles(), as_sentences=options.sentences):
        if console:
            show(tagged, console)
        else:
            try:
                sys.stdout.buffer.write("".join(to_line(to_record(s)) for s in tagged.sentences).encode("utf-8"))
                sys.stdout.buffer.flush()
            except BrokenPipeError:  # the reader has had enough
                _let_go_of_stdout()
                raise typer.Exit from None
    if not n_records:
        raise YaqinError("expected articles, found no record")
    if n_rejected:
        print(f"yaqin: {n_rejected} of {n_records} records were rejected", file=sys.stderr)
    return n_rejected


@app.command()
def report(
    tagged: Annotated[Path, typer.Argument(help="An output folder of yaqin tag, or its JSON lines.")],
    output: Annotated[Path, typer.Option(help="The page to write.")],
) -> None:
    """Make one self-contained HTML page of tagged articles."""
    _write_report(tagged, output, None)


def _write_report(tagged: Path, output: Path, checkpoint: Checkpoint | None) -> None:
    from yaqin.inference.report import read_tagged, write_report

    write_report(read_tagged(tagged), output, title=tagged.name, checkpoint=checkpoint.info.name if checkpoint else "")
    print(f"page written: {output}", file=sys.stderr)


@app.command()
def hydrate(
    labels: Annotated[Path, typer.Argument(help="Labels without text, from seeds/.")],
    clones: Annotated[list[Path], typer.Argument(metavar="CLONE…", help="Clones of the public collections.")],
    output: Annotated[Path, typer.Option(help="Labelled rows with text to write.")],
) -> None:
    """Rebuild labelled news sentences from clones of the public collections."""
    from yaqin.inference.hydrate import MISSING_SUFFIX
    from yaqin.inference.hydrate import hydrate as rebuild

    result = rebuild(labels, clones, output)
    print(f"{result.rows} rows: {result.hydrated} written, {result.missing} missing; {output}", file=sys.stderr)
    if result.missing:
        print(f"yaqin: see {output}{MISSING_SUFFIX} for what is missing and why", file=sys.stderr)
        raise typer.Exit(EXIT_REJECTED)
