"""Steps that choose images by the objects in them.

In: a column of objects. Out: images to annotate, within a budget.

    class_round_robin.py  classes in turn
    coverage.py           every class's objects covered, rare ones first
    detection_entropy.py  where a detector is least sure
    proposals.py          proposals as flat arrays
"""
