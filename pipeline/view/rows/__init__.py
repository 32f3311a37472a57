"""What is looked at, as rows that are filtered, counted and listed.

In: a run, a pool, or a column. Out: masks, orders and counts over all samples, and what a list shows of some.

    asked.py    words and conditions in SQL, as masks
    brief.py    what a list shows of each sample, mapped from a file
    fields.py   a field of all samples as an array
    filters.py  filters as masks, counts under all of them but a chart's own
    frame.py    one row a sample, in the pool's order
    seen.py     what is looked at
"""
