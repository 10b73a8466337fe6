"""Sentence boundaries: where an article's text is cut, as offsets into the original.

One pass over the places where a sentence may end (stops and line breaks). Each is judged by a few characters
around it and by how long the sentence is so far, never by what stands before the sentence: so time is linear,
and splitting a sentence again gives that sentence. `benchmarks/boundaries.py` measures the rules, which were
written on articles 0-49 of `seeds/boundaries.jsonl`.
"""

import re

_STOPS = ".!?؟۔…"
_QUOTES = "\"'"  # these open and close: only one without a letter after it is taken to close
_CLOSERS = "»”’)}\\]"  # the last one escaped, for the classes below
_BREAKS = "\n\r\v\f\x85\u2028\u2029"
# Signs without width (bidi marks and isolates, joiners, byte order mark) cling to punctuation and say nothing.
_MARKS = "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_SPACE = rf"[^\S{_BREAKS}]"
_NO_START = f"{_STOPS}{_CLOSERS},،;؛:%٪"  # a sentence never begins with one of these

_PLACE = re.compile(
    # A link is stepped over: dots and question marks inside it are its own, stops at its very end are not.
    rf"(?P<link>(?:https?://|www\.)(?:[{_STOPS}]*+[^\s{_STOPS}{_QUOTES}{_CLOSERS}«“<>])++)"
    rf"|(?P<stop>[{_STOPS}]++)(?P<tail>(?:[{_MARKS}]|[{_QUOTES}]++(?!\w)|{_SPACE}*+[{_STOPS}{_CLOSERS}])*+)"
    rf"(?P<gap>(?:{_SPACE}|[{_MARKS}])*+)"
    rf"|(?P<line>[{_BREAKS}][\s{_MARKS}]*+)"
)
_BREAK = re.compile(f"[{_BREAKS}]")
_MARK = re.compile(f"[{_MARKS}]")
_WORDING = re.compile(rf"[^\s{_MARKS}{_STOPS}{_CLOSERS}]|\Z")

# A dot after one of these abbreviates, and so it does after any letter that stands alone («د.», «م.ت.ف.»), with
# or without «و» before it. A lone letter after a number is a unit («2012 م.») and ends as words do. `re` takes
# diacritics for no part of a word, so they are named.
ABBREVIATIONS = ("أد", "اد", "Dr", "Gen", "Mr", "Mrs", "Ms", "Prof", "St")
_ABBREVIATED = re.compile(rf"(?:^|[^\w\u064b-\u065f\u0670]|ـ)(?<!\d\s)و?(?:[^\W\d_]|{'|'.join(ABBREVIATIONS)})$")
# Without a space a dot may be part of a number (3.5), of a name in Latin letters (site.net) or follow a name that
# one letter hides («محمد.ع»).
_GLUED = re.compile(r"\d\.\d|[0-9A-Za-z]\.[0-9A-Za-z]|\w\.[^\W\d_](?!\w)")

# No sentence ends like this. «على» is missing: as often it is the name Ali at the end of a byline.
_UNFINISHED = re.compile(
    r"(?:[،,]|(?:^|\s)(?:في|فى|من|إلى|الى|إلي|عن|مع|أن|إن|ان|أنه|أنها|التي|التى|الذي|الذى|الذين|أو|ثم|بين|منذ|لدى|ضد|خلال|نحو))$"
)
_CONTEXT = 12  # characters, more than the longest of these words
_HEADING = 60  # characters: half of all headlines and nearly all bylines are shorter, most sentences longer
_ANCHOR = 25  # characters: the text of a link, which some sites print on a line of its own


def split(text: str) -> list[tuple[int, int]]:
    """Give start and end of each sentence of `text`, in code points, in order and without white space around.

    Every character that is not white space is in exactly one sentence. Takes linear time, never raises.
    """
    spans: list[tuple[int, int]] = []
    start = line = stopped = 0  # of the sentence; of the line; behind the last stop
    wording = _wording(text, start)
    for place in _PLACE.finditer(text):
        if place["link"]:
            continue
        if place["line"]:
            cut = place.start()
            after = text[place.end() : place.end() + 1]
            ends = after not in _NO_START and (stopped == cut or not _continues(text, place, wording, line))
            line = place.end()
        else:
            cut, stopped = place.end("tail"), place.end()
            ends = _is_end(text, place, wording)
        if ends and wording < cut:
            spans.append(_trim(text, start, cut))
            start, wording = cut, _wording(text, cut)
    if spans and wording == len(text):  # only stops and brackets are left, or nothing
        start = spans.pop()[0]
    last = _trim(text, start, len(text))
    return [*spans, last] if last[0] < last[1] else spans


def _is_end(text: str, place: re.Match[str], wording: int) -> bool:
    """Judge a stop inside a line; at the end of a line it is the break that counts."""
    after = text[place.end() : place.end() + 1]
    if after in _BREAKS or after in _NO_START:
        return False
    at = place.start()
    before = _MARK.sub("", text[max(wording, at - _CONTEXT) : at])
    if before.endswith("("):  # «(...)» and «(!)» comment on a sentence
        return False
    signs = _MARK.sub("", place["stop"] + place["tail"])
    if set("!?؟") & set(signs):  # inside a quoted title the sentence goes on: «من يحكم؟» الذي
        return after == "و" or not set(_QUOTES + _CLOSERS) & set(signs)
    if "…" in signs:
        return True
    n_dots = len(place["stop"])
    if n_dots > 1:  # two tie the halves of a heading, and clauses of prose too; three seldom do
        return at - wording > _HEADING and (n_dots > 2 or after == "و")
    if before.isdigit() and at - wording <= 3:  # the number of an item
        return False
    if signs == "." and not place["gap"] and _GLUED.match(before[-1:] + "." + text[place.end() : place.end() + 2]):
        return False
    return not _ABBREVIATED.search(before)


def _continues(text: str, place: re.Match[str], wording: int, line: int) -> bool:
    """Tell whether a line without a stop is broken inside its sentence, as in hard-wrapped text."""
    at = place.start()
    before = text[max(wording, at - _CONTEXT) : at].rstrip()
    if before.endswith(":"):  # a byline, or a list follows
        return False
    if _UNFINISHED.search(before):
        return True
    nearby = place.end() + _ANCHOR
    by_anchor = at - max(line, wording) <= _ANCHOR or nearby >= len(text) or _BREAK.search(text, place.end(), nearby)
    return at - wording > _HEADING and bool(by_anchor)


def _wording(text: str, start: int) -> int:
    """Find the first sign from `start` on that is more than a space, stop or bracket."""
    found = _WORDING.search(text, start)
    return found.start() if found else len(text)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end].lstrip()
    return end - len(inner), end - len(inner) + len(inner.rstrip())
