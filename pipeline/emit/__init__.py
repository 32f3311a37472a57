"""The recipe's `emit`: the selection in the formats that others read.

In: a run whose selection stands. Out: files under exports/. A new output is its file here, a line in outputs.py and
its name in recipe/.

    hf.py          as a Hugging Face dataset
    labels.py      as labels to train with
    maps.py        every sample and what became of it, for Embedding Atlas and FiftyOne
    outputs.py     the selection in the formats that people train with
    places.py      kept and dropped in two dimensions
    proposals.py   objects of chosen samples, for exports and report
    restored.py    lists and structs as what they were
    splits.py      as train, validation and test that share nothing
    tasks.py       as tasks for Label Studio, CVAT and COCO
    webdataset.py  as WebDataset shards
"""
