"""A page on this machine to decide on: every sample of a run, filtered, counted, opened, tried, marked.

In: a complete run, a pool, or a column. Out: answers over HTTP on loopback, and marks beside the run; no run is
changed.

    app.py       the page's questions and their answers: a route each
    guard.py     who is answered
    marks.py     what a person marked, kept beside the run
    nights.py    what was published or held, and what changed between two runs
    others.py    others' viewers, started on a run
    pictures.py  stored images, drawn anew
    places.py    where samples lie on the map
    sample.py    one sample, opened
    serve.py     the page served until it is stopped
    session.py   one run with all that answers for it
    what_if.py   what another budget or line would keep
    rows/        What is looked at, as rows that are filtered, counted and listed

The page itself lies below, in `page`: plain modules and a style, no build step.
"""
