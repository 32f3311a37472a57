"""Rows of lines and tables as blocks.

In: files of one format. Out: blocks of rows, beside those that can't be used and why; what first rows show of fields.

    columnar.py   Parquet, and Arrow files of saved datasets
    delimited.py  CSV and tab-separated files
    jsonl.py      JSON lines, fast, and line by line where a line is bad
    pages.py      how much unpacking a Parquet file can take
    saved.py      which files a dataset of Hugging Face lists, and its splits
"""
