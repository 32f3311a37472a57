"""The quality mask of importance resampling's preprocessing (Xie et al. 2023, authors' code): does it look like prose?

Bounds on tokens of the lower-cased text: 40 < length < 500; 0.02 < share of the most frequent token < 0.2;
0.3 < share of tokens that are neither stop words nor punctuation < 0.7; share of tokens that are not a single digit
above 0.8. Ours where it differs: tokens as everywhere in tamis, and our own list of English function words.
Pure Python, about 4 MB/s: only where asked for. Not for languages other than English."""

from collections import Counter

import pyarrow as pa

from tamis.selectors.texts.tokens import tokens

FUNCTION_WORDS = frozenset(
    # articles, pronouns, auxiliaries, prepositions, conjunctions, and the pieces that contractions leave
    """a an the i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she
    her hers herself it its itself they them their theirs themselves this that these those who whom whose which what
    be am is are was were been being have has had having do does did doing done can could will would shall should may
    might must ought of in on at by for with about against between into through during before after above below to
    from up down out off over under upon within without toward towards and or but nor so yet if then else because as
    until while although though unless since whether than too very just only not no own same such each few more most
    other some any both all again further once here there when where why how now also s t d ll m o re ve don didn doesn
    isn aren wasn weren hasn haven hadn won wouldn shouldn couldn mustn needn""".split()  # noqa: SIM905  a list of words
)


def mask_reasons(texts: pa.StringArray) -> list[str | None]:
    """[rows] None where the text looks like prose, else `low_quality`."""
    return [None if looks_like_prose(text) else "low_quality" for text in texts.to_pylist()]


def looks_like_prose(text: str) -> bool:
    words = tokens(text, "published")
    if not 40 < len(words) < 500:
        return False
    most = max(Counter(words).values()) / len(words)
    informative = sum(word not in FUNCTION_WORDS and not is_punctuation(word) for word in words) / len(words)
    not_digits = sum(not (len(word) == 1 and word.isdigit()) for word in words) / len(words)
    return 0.02 < most < 0.2 and 0.3 < informative < 0.7 and not_digits > 0.8


def is_punctuation(token: str) -> bool:
    return not (token[0].isalnum() or token[0] == "_")
