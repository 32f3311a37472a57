"""Steps that keep one of several, and what overlaps an evaluation set out.

Each file one method; a drop names the sample or item that decided.

    decontaminate.py          texts that hold a piece of an evaluation set
    decontaminate_vectors.py  what looks like one of its items
    exact.py                  one of each content
    groups.py                 which of each group is kept
    near_images.py            images that look the same
    near_texts.py             texts that nearly repeat each other
    near_vectors.py           near vectors within one cluster
    semantic.py               vectors that mean nearly the same
    similarity_table.py       each one's nearest earlier neighbour, cluster by cluster
    together.py               what belongs together, for splits and parts that are held out
"""
