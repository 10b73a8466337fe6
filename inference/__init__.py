"""Tags sentences of Arabic news with how reliably they present their claim. Runs without torch."""

from yaqin.inference.errors import YaqinError
from yaqin.inference.tagger import Article, Tag, TaggedArticle, TaggedSentence, Tagger

__all__ = ["Article", "Tag", "TaggedArticle", "TaggedSentence", "Tagger", "YaqinError"]
