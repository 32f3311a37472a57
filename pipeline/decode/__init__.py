"""Images from bytes to numbers, in worker processes that may crash.

In: places of encoded images (`Encoded`) and plans. Out: arrays and facts, in blocks and in order. Called by read
and columns.

    classic.py          shape and colour without weights
    decoders.py         worker processes, in blocks, in order
    locate.py           where a stored image's bytes are
    passes.py           one pass over blocks of images, for all that is made of them
    perceptual_hash.py  64 bits that copies of an image share
    pixels.py           one image from bytes to pixels or features
    plans.py            what a worker leaves of each image
    quality.py          sharpness, brightness, contrast
    worker.py           one such worker
"""
