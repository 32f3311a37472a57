"""Steps that choose what to label next, and what they are made of.

Rankers: they look at all candidates together, with a budget.

    acquisition.py        what a model is unsure of; BADGE; committees
    active.py             what to label next
    class_balance.py      classes evened out
    cold_start.py         the first labels: medoids, probability cover
    facility_location.py  the set nearest to everything, lazily
    k_center.py           far from all before it
    label_errors.py       labels that are likely wrong
    ood.py                far from everything known
    parts.py              by clusters first, where all can't be compared at once
    self_paced.py         confident samples label themselves
    typical_clusters.py   the most typical of each cluster
"""
