"""What a person sees on a terminal: a progress bar, and a readable view of tagged sentences."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from yaqin.inference.parts import Progress as Advance
from yaqin.inference.tagger import TaggedArticle

STYLES = {
    "confirmed": ("●", "green"),
    "attributed": ("“", "blue"),
    "hedged": ("≈", "yellow"),
    "unverified": ("?", "red"),
}
"""Shape and colour of each tag; the shape alone is enough."""


@contextmanager
def progress_bar(n_records: int | None) -> Iterator[Advance]:
    """Show a bar on standard error where that is a terminal.

    Args:
        n_records: How many records there are, if known.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("tagging"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("articles, {task.fields[speed]} sentences/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("tagging", total=n_records, speed="…")
        n_sentences = 0

        def advance(records: int, sentences: int) -> None:
            nonlocal n_sentences
            n_sentences += sentences
            elapsed = bar.tasks[0].elapsed or 0
            bar.update(task, advance=records, speed=f"{n_sentences / elapsed:.0f}" if elapsed else "…")

        yield advance


def show(article: TaggedArticle, console: Console) -> None:
    """Print one article, a sentence a line, each with its tag and probability."""
    console.rule(Text(_visible(article.article.id)), style="dim")
    for sentence in article.sentences:
        shape, colour = STYLES.get(sentence.tag or "", ("·", "dim"))
        probability = f"{max(sentence.probabilities.values()):4.0%}" if sentence.tag else "    "
        label = f"{shape} {sentence.tag or 'no claim':<10} {probability}{' ?' if sentence.uncertain else '  '} "
        console.print(Text(label, style=colour) + Text(_visible(sentence.text)), soft_wrap=True)


def _visible(text: str) -> str:
    """Replace what could disturb a terminal: control characters, bidi overrides, lone surrogates."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
