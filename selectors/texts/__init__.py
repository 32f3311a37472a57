"""Arithmetic over texts that several steps share.

In: Arrow strings. Out: hashed n-grams, signatures, measures.

    languages.py what rules ask by language
    measures.py  what these rules measure
    minhash.py   signatures of texts
    ngrams.py    texts as hashed n-grams
    scripts.py   scripts whose words no space parts
    tokens.py    tokens, and the tables of characters
    words.py     words of texts as they are compared
"""
