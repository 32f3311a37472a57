"""Why: a sample's story, what goes along with being dropped, what a column carries.

In: a complete run. Out: text and pages for people.

    drops.py       which fields go along with being dropped
    neighbours.py  which target samples it is nearest to
    pages.py       HTML files that open anywhere
    probe.py       whether a column carries classes or target
    show.py        a run's result in a terminal
    why.py         one sample's story
    report/        The report, one HTML file that opens anywhere
"""
