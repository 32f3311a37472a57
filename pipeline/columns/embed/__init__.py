"""`embed:`: vectors of images, texts and keys.

Each file: frozen settings, and a model that gives vectors.

    classes.py          classes told from vectors by prompts
    classic.py          shape and colour without weights
    embedder.py         what those with a model share
    onnx.py             any image encoder in ONNX
    open_clip.py        towers of open_clip
    perceptual_hash.py  bits that copies share
    plain.py            numbers that decoding workers make
    precomputed.py      vectors made elsewhere, joined by key
    sentences.py        texts through sentence-transformers
    vectors.py          vectors of texts by any model
"""
