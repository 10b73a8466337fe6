"""Text preparation: what the encoder reads instead of the printed sentence.

The steps follow the public description of AraBERT's preparation for its v0.2 models (Antoun et al. 2020,
https://aclanthology.org/2020.osact-1.2), which need no Farasa segmentation. They serve both training and
tagging, and a checkpoint records their name and version. Nothing here keeps offsets: sentences are cut
from the original text first (`yaqin.inference.sentences`) and prepared afterwards.
"""

import html
import re
import unicodedata
from collections.abc import Callable

PREPARATION = "arabert-v02"
VERSION = 2  # 2: presentation forms become letters; 1 dropped them, as AraBERT's own preparation does

LETTERS = "\u0621-\u063a\u0641-\u064a"  # hamza to ghain, feh to yeh: the letters of Arabic proper
ARABIC_LETTER = re.compile(f"[{LETTERS}\u0671-\u06d3\ufb50-\ufdff\ufe70-\ufefc]")

_PRESENTATION_FORMS = re.compile("[\ufb50-\ufdff\ufe70-\ufefc]+")
_DIACRITICS = re.compile("[\u064b-\u0655\u0670]")
_DIGITS = {
    ord(arabic): str(value)
    for zero in "\u0660\u06f0"
    for value, arabic in enumerate(map(chr, range(ord(zero), ord(zero) + 10)))
}
_URL = re.compile(r"""(?:https?://|ftp://|www\.)[^\s<>"«»()\[\]]*[^\s<>"«»()\[\].,;:!?؟،؛…]""", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)++")
_MENTION = re.compile(r"@\w+")
_LONG_REFERENCE = re.compile("&#[0-9]{32,};?")  # beyond every code point; `html` raises on thousands of digits
_TAG = re.compile("<[^>]*>")
_REPEATED = re.compile(r"(\D)\1{2,}")
_SPACED = re.compile(rf"([^0-9{LETTERS}a-zA-Z\[\]])")
_LETTER_DIGIT = re.compile(rf"(?<=[0-9])(?=[{LETTERS}])|(?<=[{LETTERS}])(?=[0-9])")
_UNKNOWN = re.compile(
    rf"[^0-9{LETTERS}a-zA-Z\u060c\u061b\u061f\u066a-\u066c\u0671-\u0674\[\]!\"#$%'()*+,.:;\-<=·>?@\\^_`{{|}}~—–٪’‘“”«»…]"
)


def _strip_markup(text: str) -> str:
    """Replace `<…>` by a space; what follows the last `>` cannot be a tag, so no scan is wasted on it."""
    end = text.rfind(">") + 1
    return _TAG.sub(" ", text[:end]) + text[end:]


def _map_links(text: str) -> str:
    text = _URL.sub(" [رابط] ", text)
    text = _EMAIL.sub(" [بريد] ", text)
    return _MENTION.sub(" [مستخدم] ", text)


STEPS: dict[str, Callable[[str], str]] = {
    "unescape": lambda text: html.unescape(_LONG_REFERENCE.sub("\N{REPLACEMENT CHARACTER}", text)),
    "map_presentation_forms": lambda text: _PRESENTATION_FORMS.sub(
        lambda match: unicodedata.normalize("NFKC", match.group()), text
    ),
    "strip_diacritics": lambda text: _DIACRITICS.sub("", text),
    "strip_tatweel": lambda text: text.replace("\N{ARABIC TATWEEL}", ""),
    "map_links": _map_links,
    "strip_markup": _strip_markup,
    "map_digits": lambda text: text.translate(_DIGITS),
    "slash_to_dash": lambda text: text.replace("/", "-"),
    "reduce_repetition": lambda text: _REPEATED.sub(r"\1\1", text),
    "space_punctuation": lambda text: _SPACED.sub(r" \1 ", text),
    "space_digits": lambda text: _LETTER_DIGIT.sub(" ", text),
    "drop_unknown": lambda text: _UNKNOWN.sub(" ", text),
    "collapse_spaces": lambda text: " ".join(text.split()),
}


def prepare(text: str) -> str:
    """Apply every step of `STEPS` in order. Idempotent, linear in the length of `text`, never raises."""
    for step in STEPS.values():
        text = step(text)
    return text


def has_arabic(text: str) -> bool:
    """Tell whether `text` holds at least one Arabic letter; without one there is no claim in Arabic."""
    return ARABIC_LETTER.search(text) is not None
