"""`detect:`: objects in images.

Each file: frozen settings, and a model that proposes objects.

    boxes.py            boxes checked against their image
    file.py             boxes of COCO, YOLO, VOC, Parquet, by image name
    objects.py          what every detector has
    onnx.py             a YOLOX-style detector
    open_vocabulary.py  Grounding DINO, OWLv2
    rounds.py           what people drew and answered, as a store keeps it
"""
