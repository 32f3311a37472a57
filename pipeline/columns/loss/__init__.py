"""`loss:`: nats a token under language models.

Each file: frozen settings, and a model that gives losses. A new loss is a file here.

    causal_lm.py    losses of texts under a causal model: windows, batches, devices
    image_text.py   a caption's loss given its image
    kenlm.py        perplexity by a KenLM file, as CCNet does it
    precomputed.py  losses made elsewhere
    trained.py      a small language model trained here, resumed after a kill
"""
