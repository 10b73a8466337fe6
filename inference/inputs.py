"""From sentences to piece ids: the one place where training and tagging meet the tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import Encoding, Tokenizer

from yaqin.inference.text import prepare

Context = Literal["none", "previous"]


@dataclass(frozen=True)
class Input:
    """One sentence as the encoder reads it.

    Attributes:
        ids: Piece ids with the special ones. *Shape:* ``(length,)``
        type_ids: Segment of each piece. *Shape:* ``(length,)``
        truncated: Whether pieces of the sentence itself were cut off.
        offsets: Where each piece stands in the prepared sentence, ``(0, 0)`` for special pieces;
            pieces of the sentence before come last. Empty when encoded without offsets.
    """

    ids: list[int]
    type_ids: list[int]
    truncated: bool
    offsets: list[tuple[int, int]]


class InputEncoder:
    """Prepares, tokenises and cuts sentences to at most `max_length` pieces.

    With `context="previous"` the last `context_length` pieces of the sentence before follow as the second
    segment, as far as the sentence itself leaves room.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, max_length: int, context: Context = "none", context_length: int = 32
    ) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._context = context
        self._context_length = context_length

    def encode(
        self, sentences: Sequence[str], previous: Sequence[str | None] | None = None, *, offsets: bool = False
    ) -> list[Input]:
        """Encode `sentences`, each with the sentence before it where the context asks for one.

        Args:
            sentences: Original text, one sentence each.
            previous: The sentences before, as many as `sentences`; ignored with `context="none"`.
            offsets: Keep the offsets of pieces (slower; training wants them).
        """
        encode = self._tokenizer.encode_batch if offsets else self._tokenizer.encode_batch_fast
        firsts = encode([prepare(s) for s in sentences], add_special_tokens=False)
        if self._context == "none" or previous is None:
            return [self._assemble(first, None, offsets) for first in firsts]
        seconds = encode([prepare(p or "") for p in previous], add_special_tokens=False)
        return [self._assemble(first, second, offsets) for first, second in zip(firsts, seconds, strict=True)]

    def _assemble(self, first: Encoding, second: Encoding | None, offsets: bool) -> Input:
        room = self._max_length - self._tokenizer.num_special_tokens_to_add(False)
        truncated = len(first.ids) > room
        if truncated:
            first.truncate(room)
        if second is not None:
            pair_room = self._max_length - self._tokenizer.num_special_tokens_to_add(True) - len(first.ids)
            kept = min(self._context_length, pair_room)
            if kept <= 0 or not second.ids:
                second = None
            elif len(second.ids) > kept:
                second.truncate(kept, direction="left")
        whole = self._tokenizer.post_process(first, second, add_special_tokens=True)
        return Input(whole.ids, whole.type_ids, truncated, whole.offsets if offsets else [])
