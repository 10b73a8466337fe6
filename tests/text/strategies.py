"""Text as nasty as the world's: what Hypothesis draws Arabic news from."""

from hypothesis import strategies as st

LETTERS = "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهويىٱپچگی"
DIACRITICS = "\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652\u0653\u0670\u0640"  # and the tatweel
PRESENTATION_FORMS = "\ufb50\ufdf2\ufdfa\ufe8d\ufed7\ufefb\ufefc"
DIGITS = "0123456789٠١٢٣٤٥٦٧٨٩۴۵۶²"
WITHOUT_WIDTH = "\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
SPACES = " \t\n\r\v\f\x1c\x85\u00a0\u2003\u2028\u2029\0"
PUNCTUATION = ".!?؟…۔،,؛;:%٪\"'«»“”‘’()[]{}<>&#@/-_–—*•"
WORDS = (
    *("قال", "الوزير", "د", "أ.د.", "م.ت.ف.", "و", "في", "علي", "..", "...", "؟!", "(...)", ".\n", "\n.\n", "\r\n"),
    *("3.5", "٣.٥", "1.", "2012 م.", "كلمة " * 15, "مُحَمَّد", "لـ", "ههههه", "CNN", "Dr."),
    *("https://example.org/a?b=1.", "www.", "http://", "ftp://", "desk@example.org", "@desk", "a.b"),
    *("<p>", "</b>", "<", ">", "&amp;", "&lt;", "&amp;lt;", "&#1633;", "&#xD800;", "&#" + "9" * 5000 + ";", "[رابط]"),
)

arabic = st.lists(
    st.one_of(
        st.text(LETTERS, min_size=1, max_size=8),
        st.sampled_from(WORDS),
        st.sampled_from(LETTERS + DIACRITICS + PRESENTATION_FORMS + DIGITS),
        st.sampled_from(PUNCTUATION + SPACES + WITHOUT_WIDTH),
        st.characters(categories=["Cs"]),  # lone surrogates: `st.text()` hardly ever draws one
        st.characters(),
    ),
    max_size=40,
).map("".join)

# Each is repeated to thousands of characters. A rule that looks back or ahead without a bound is slow on one.
NASTY = (
    *("ب", " ", ".", ". ", ".\u200f", "!\u200f ", '."', ".»", "؟ «", "(!)", "1.", "د.", "a.b", '"', "[111 111 "),
    *("\n", "\u200f\n", "ب\n", "ب،\n", "في \n", ".." + "ب" * 70, "َ", "ـ", "\ud800", "\0"),
    *("http://", "www.", "http://.", "http://!! ", "a@", "a@b.", "@", "<", "<a", "<>", "&", "&#", "&#9", "&amp"),
)
