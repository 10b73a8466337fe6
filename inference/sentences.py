"""Sentence boundaries: where an article's text is cut, as offsets into the original.

One pass over the places where a sentence may end (stops and line breaks). Each is judged by a few characters
around it and by how long the sentence is so far, never by what stands before the sentence: so time is linear,
and splitting a sentence again gives that sentence. `benchmarks/boundaries.py` measures the rules, which were
written on articles 0-49 of `seeds/boundaries.jsonl`.
"""

import re

_STOPS = ".!?؟۔…"
_QUOTES = "\"'"  # these open and close: only one without a letter after it is taken to close
_CLOSERS = "»”’)\\]}"
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
_ABBREVIATED = re.compile(
    rf"(?:^|[^\w\u064b-\u065f\u0670]|ـ)(?<!\d\s)و?(?:[^\W\d_]|{'|'.join(ABBREVIATIONS)})$"
)

# No sentence ends with one of these. «على» is missing: as often it is the name Ali at the end of a byline.
PARTICLES = frozenset(
    "في فى من إلى الى إلي عن مع أن إن ان أنه أنها التي التى الذي الذى الذين أو ثم بين منذ لدى ضد خلال نحو".split()
)
_CONTEXT = 12  # characters, more than the longest entry of both tables
_HEADING = 80  # characters: headings, bylines and items of lists are rarely longer, sentences of prose mostly
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
            ends = not _joins_back(text, place) and (stopped == cut or not _continues(text, place, wording, line))
            line = place.end()
        else:
            cut, stopped = place.end("tail"), place.end()
            ends = _is_end(text, place, wording)
        if ends and wording < cut:
            spans.append(_trim(text, start, cut))
            start, wording = cut, _wording(text, cut)
    if spans and wording == len(text):  # only stops and brackets are left, or nothing
        start = spans.pop()[0]
    return [*spans, _trim(text, start, len(text))] if wording or text.strip() else spans


def _is_end(text: str, place: re.Match[str], wording: int) -> bool:
    """Judge a stop inside a line; at the end of a line it is the break that counts."""
    after = text[place.end() : place.end() + 1]
    if after in _BREAKS or after in _NO_START:
        return False
    at = place.start()
    before = _MARK.sub("", text[max(wording, at - _CONTEXT) : at])
    if before.endswith("("):  # «(...)» and «(!)» comment on a sentence
        return False
    signs = place["stop"] + place["tail"]
    if set("!?؟") & set(signs):  # inside a quoted title the sentence goes on: «من يحكم؟» الذي
        return after == "و" or not any(sign in signs for sign in _QUOTES + _CLOSERS)
    if len(place["stop"]) > 1 or "…" in signs:  # dots tie the halves of a heading, and in prose clauses too
        return at - wording > _HEADING and (after == "و" or len(place["stop"]) > 2 or "…" in signs)
    if before.isdigit() and at - wording <= 3:  # the number of an item
        return False
    glued = place.end() == at + 1
    if glued and (before[-1:] + after).isascii() and before[-1:].isalnum() and after.isalnum():
        return False  # 3.5, name@site.org, site.net
    if glued and before[-1:].isdigit() and after.isdigit():
        return False
    return not _ABBREVIATED.search(before)


def _joins_back(text: str, place: re.Match[str]) -> bool:
    """Tell whether a line begins with what belongs to the line before: often it holds nothing but a stop."""
    return text[place.end() : place.end() + 1] in _NO_START


def _continues(text: str, place: re.Match[str], wording: int, line: int) -> bool:
    """Tell whether a line without a stop is broken inside its sentence, as in hard-wrapped text."""
    at = place.start()
    before = text[max(wording, at - _CONTEXT) : at].rstrip()
    if before.endswith(("،", ",")) or before.split()[-1:] and before.split()[-1] in PARTICLES:
        return True
    following = _BREAK.search(text, place.end(), place.end() + _ANCHOR + 1)
    is_anchor = at - max(line, wording) <= _ANCHOR or following is not None or len(text) - place.end() <= _ANCHOR
    return is_anchor and at - wording > _HEADING


def _wording(text: str, start: int) -> int:
    """Find the first sign from `start` on that is more than a space, stop or bracket."""
    found = _WORDING.search(text, start)
    return found.start() if found else len(text)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end].lstrip()
    return end - len(inner), end - len(inner) + len(inner.rstrip())
