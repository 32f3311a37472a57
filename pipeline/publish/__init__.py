"""Published or held: what stands between a run that has ended and those who read what it chose.

In: a complete run, and the one that is published. Out: a decision on record, STORE/current.json, and what changed.

    changes.py  what came in and what went out between two runs
    decide.py   a run held against its guards; approve and hold, by people
    guards.py   each guard of `publish:`, with what was found and what was wanted
    pairs.py    two runs side by side, as views for queries
    reasons.py  why a sample that one run chose is not chosen by another
    told.py       changes in a terminal, as a page, as rows
"""
