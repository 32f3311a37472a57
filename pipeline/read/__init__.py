"""Source files in, shards and rejects out: the pool.

In: a recipe's sources. Out: `Pool` and its `Part`s; each row is a sample or a reject with its reason. A new format
is its reader here and a line in formats.py, of images in images/rows.py.

    blocks.py      rows of a file as Arrow, beside those that can't be used and why
    chunking.py    cutting texts into pieces of so many words
    families.py    near-copies among a target's samples
    formats.py     which reader reads which format
    held_out.py    a part of the target that nothing learns from
    identity.py    ids from keys, hashes from contents
    ingest.py      source files in, shards and rejects out; incremental
    kept_types.py  types of kept fields, brought together over sources
    names.py       which names the pool has more than once, and which name ends as which
    pool.py        the records of what was read, as the pool that a run sees
    rejects.py     rows that could not be read, on their way to a file
    required.py    whether the fields that a recipe names are there
    shards.py      rows become samples and land in a shard or in the rejects
    sources.py     finding source files, grouped by what is read together
    walk.py        walking a folder: one rule for links, stores and what is no file
    images/        images as rows: from folders, tars and tables
    tables/        lines and tables as rows
"""
