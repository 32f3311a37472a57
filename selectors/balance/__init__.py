"""Steps that even out: by clusters, groups, sources, or by chance.

Shares and quotas, met exactly or told.

    clusters.py        as many of each cluster
    hierarchy.py       trees of clusters, and quotas down them
    quota.py           a wanted mixture
    sensitivity.py     a weighted sample that keeps sums
    source_budgets.py  how many samples of each source for a target
    uniform.py         simple random choice
"""
