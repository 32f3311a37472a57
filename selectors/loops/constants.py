"""Numbers that compiled loops and their callers agree on. Importing this loads no numba."""

CLOSE = 8  # products that are nearly as large: copies are many and equal
NEARLY = 2e-6  # products of unit vectors in float32 differ by less, whatever the order of sums

SPACE, WORD, OTHER, ALONE, MARK = range(5)  # classes of characters, where texts become tokens
CLASS, LETTER_BIT, DIGIT_BIT, BREAK, STOP, ALNUM = 7, 8, 16, 32, 64, 128  # that class, and what rules ask besides

GROWS = 3  # bytes that a byte of text may become: a Hangul syllable of 3 becomes three letters of 3
SEPARATES, LETTER, DIGIT, DROPPED, APART, SIGN, NUMERAL = range(7)  # kinds of characters, in words
# DIGIT begins a number that becomes 0, NUMERAL stays; APART is a word of its own, SIGN belongs to what is before it

# What rules on prose measure: places in texts/measures.FIELDS, and their limits
(
    CHARACTERS, SPLIT_WORDS, LETTER_SHARE, DIGIT_SHARE, SPACE_SHARE, BRACKET_SHARE, ADDRESS_SHARE, STOP_WORD_SHARE,
    MEAN_LINE, LONGEST_LINE, WORDS, WORD_LENGTH, LETTERS, STOP_WORDS, HASHES, ELLIPSES, BULLETS, CUT_LINES,
    REPEATED_PARAGRAPHS, REPEATED_PARAGRAPHS_CHARACTERS, REPEATED_LINES, REPEATED_LINES_CHARACTERS,
) = range(22)  # fmt: skip
TOP_FIRST, WORD_REPETITION, CHARACTER_REPETITION = 22, 31, 32  # six repeated n-grams follow the three most frequent
LINES, LINE_ENDS, LINE_ENDS_V1, SHORT_LINES, LINE_REPEATS, LINE_BREAKS, C4_FIRST = range(33, 40)
SHORT_LINE, LONGEST_WORD = 30, 1000  # characters
ABBREVIATED = frozenset(  # behind which a point ends no sentence
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "jr",
        "sr",
        "vs",
        "v",
        "no",
        "nos",
        "sec",
        "secs",
        "art",
        "arts",
        "fig",
        "figs",
        "eq",
        "eqs",
        "vol",
        "vols",
        "pp",
        "cf",
        "al",
        "etc",
        "inc",
        "ltd",
        "co",
        "corp",
        "gov",
        "gen",
        "col",
        "sen",
        "rep",
        "rev",
        "hon",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sept",
        "sep",
        "oct",
        "nov",
        "dec",
        "approx",
        "dept",
        "est",
        "ed",
        "eds",
    ]
)
NEWLINE, RETURN, QUOTE, HASH, APOSTROPHE = 10, 13, 34, 35, 39  # code points
OPEN, CLOSE_BRACKET, COMMA, DASH, POINT, SLASH, COLON, LESS, MORE, AT = 40, 41, 44, 45, 46, 47, 58, 60, 62, 64
EXCLAMATION, QUESTION, SEMICOLON = 33, 63, 59
SQUARE, SQUARE_CLOSE, CURLY, RIGHT_QUOTE, BULLET, ELLIPSIS = 91, 93, 123, 0x2019, 0x2022, 0x2026
