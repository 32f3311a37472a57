"""Rows of lines and tables as blocks.

In: files of one format. Out: blocks of rows, beside those that can't be used and why; what first rows show of fields.

    bare.py       whether what an Arrow file says of its bytes is true
    columnar.py   Parquet, and Arrow files of saved datasets
    compact.py    Thrift's structs, in which a Parquet file speaks of itself
    delimited.py  CSV and tab-separated files
    jsonl.py      JSON lines, fast, and line by line where a line is bad
    pages.py      how much unpacking a Parquet file can take
    saved.py      which files a dataset of Hugging Face lists, and its splits
"""
