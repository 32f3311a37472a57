"""Steps that keep what is good by a rule or a number.

Each file one method; a drop has its rule's name.

    clip_score.py     how near image and caption are
    combine.py        several scores as one
    images.py         too small, dark, blurred
    language.py       the languages that are wanted
    neg_clip_loss.py  less what they get from all others
    perplexity.py     low, middle, high; bands, head, middle, tail
    sql_filter.py     the user's own condition
    text_rules.py     what looks like prose: Gopher, C4, FineWeb
    threshold.py      any column above or below
"""
