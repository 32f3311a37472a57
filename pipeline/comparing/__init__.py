"""Several selections side by side, by measures and by training.

In: runs of one pool. Out: figures, a table, a page.

    curve.py        what the choice is worth, by its budget
    heads.py        a linear head, on labels
    measures.py     how well they serve a target, in shared passes
    members.py      the selections that are compared, and what is set beside them
    page.py         the table and the page
    selections.py   several selections of one pool, side by side
    simplex.py      weights that add up to 1, found round after round
    texts.py        a language model, on texts
    training.py     what they are worth, by training the same small model on each
    tuning.py       settings found by what they are worth, round after round
    tuning_told.py  the same as a table, a sentence, a recipe
    variants.py     what is tried
"""
