"""Numbers that compiled loops and their callers agree on. Importing this loads no numba."""

CLOSE = 8  # products that are nearly as large: copies are many and equal
NEARLY = 2e-6  # products of unit vectors in float32 differ by less, whatever the order of sums

SPACE, WORD, OTHER, ALONE, MARK = range(5)  # classes of characters, where texts become tokens

GROWS = 3  # bytes that a byte of text may become: a Hangul syllable of 3 becomes three letters of 3
SEPARATES, LETTER, DIGIT, DROPPED, APART, SIGN, NUMERAL = range(7)  # kinds of characters, in words
# DIGIT begins a number that becomes 0, NUMERAL stays; APART is a word of its own, SIGN belongs to what is before it
