"""`classify:` and `topic:`: probabilities and nearness.

Each file: frozen settings, and a model that gives values.

    fasttext.py     a label's probability by fastText
    huggingface.py  by a sequence classifier
    linear.py       target against pool, learned here, out of sample
    topic.py        how near to what keywords name
"""
