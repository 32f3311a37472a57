"""The conformance suite: what every selector must hold, ours and anybody's, tried on a small pool through a real store.

In: a selector's name or MODULE:NAME with settings. Out: findings in words. Called by the command line and by the
tests.

    bench.py   stores of it, and decisions by key
    check.py   the suite on anybody's selector
    claims.py  what must hold, in sentences
    pool.py    a small pool with all that a selector may ask for
"""
