"""`classify:`, `topic:`, `benchmarks:`: probabilities and nearness.

Each file: frozen settings, and a model that gives values.

    benchmarks.py   the rank by nearness to several benchmarks
    fasttext.py     a label's probability by fastText
    huggingface.py  by a sequence classifier
    linear.py       target against pool, or a column of numbers, learned here, out of sample
    topic.py        how near to what keywords name
"""
