"""Models that columns ask: looked at before a library sees them, loaded once, run on what the machine has.

In: a name or a folder. Out: a folder whose files hold no code, and a module at work. A library that loads models is
given what gate.py let through, and nothing else.

    gate.py          the one door of model files: no code, no pickles, nothing from outside of the folder
    loaded.py        models, each loaded once a process
    onnx_file.py     where an ONNX file keeps its weights
    torch_models.py  device, precision, batches, memory
"""
