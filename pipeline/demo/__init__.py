"""`tamis demo`: a real curation on input that every machine has.

In: nothing. Out: a folder to look at.

    curation.py    the demo
    digits.py      a pool of images that comes with scikit-learn
    docstrings.py  a pool of texts that every machine has
"""
