"""What rankers share that pick one sample after another.

In: candidates with a vector each, and a budget. Out: picks, each with why.

    beside.py    what a ranker compares the pool with
    embedded.py  candidates with a vector each
    lazily.py    the best of many, of which few are looked at
    spend.py     a budget spent pick by pick
"""
