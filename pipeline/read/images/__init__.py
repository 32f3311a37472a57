"""Images as rows: from folders, tars and tables.

In: files of one group. Out: rows with the place of each image, then blocks with sizes, hashes and the values of
columns made in the same decode.

    blocks.py   rows of images become blocks, with their vectors
    folders.py  folders and tars of images as rows
    rows.py     which reader reads which format of images
    tables.py   tables of images, and img2dataset's shards
    tars.py     what a tar holds and where, from its headers
"""
