"""Something computed for each sample, stored once beside the pool and reused by every run.

In: a recipe's `columns:`, shards, batches. Out: parts of columns, whole or absent. A new kind is a file in a room
below and a line in catalog.py (contract.py says what it is).

    catalog.py       verb and name in a recipe to kind
    contract.py      what a column kind is
    declared.py      a recipe's columns as what will be made, in turns
    fill_images.py   parts of images' columns, in one decode
    fill_objects.py  a part of a column of objects
    fill_rows.py     parts of rows' columns, in one pass
    filling.py       a column of images at work in a pass
    hashed.py        n-grams and MinHash, which steps ask for by themselves
    labels.py        what people have labeled already
    notes.py         what a column tells of itself
    parts.py         a column's part: where it lies, whether it stands
    pieces.py        batches of texts cut where they are large
    reference.py     which kinds there are, told from the code
    user.py          the user's own function or kind
    classify/        `classify:` and `topic:`: probabilities and nearness
    detect/          `detect:`: objects in images
    embed/           `embed:`: vectors of images, texts and keys
    loss/            `loss:`: nats a token under language models
    measure/         `measure:`, `join:`, `sql:`: numbers without a model
    models/          models that columns ask: the door of their files, devices
"""
