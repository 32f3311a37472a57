"""Numbers that compiled loops and their callers agree on. Importing this loads no numba."""

CLOSE = 8  # products that are nearly as large: copies are many and equal
NEARLY = 2e-6  # products of unit vectors in float32 differ by less, whatever the order of sums

SPACE, WORD, OTHER, ALONE, MARK = range(5)  # classes of characters, where texts become tokens

WORDS = 5  # of a shingle
SEPARATES, LETTER, DIGIT, DROPPED = range(4)  # kinds of characters
