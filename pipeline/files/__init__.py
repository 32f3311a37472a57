"""Files as tamis treats them: whole or absent, wherever they lie.

In: paths and URLs. Out: bytes, digests, locks, JSON, YAML and XML read safely. Stands on errors and the machine
alone; everybody calls it.

    atomic.py       whole or absent: files, digests, the store's lock
    bytes_in.py     bytes of a file, unpacked as they are read
    inside.py       a name from outside to a path inside of a folder, or refused
    mirror.py       that copy, fetched and put up
    patterns.py     paths that may be patterns, and what in them is a name
    plain_json.py   JSON from outside, and such as every parser takes
    plain_xml.py    XML without declarations
    plain_yaml.py   YAML read safely; `on` is a word
    remote.py       a store on object storage, worked on in a copy
    remote_lock.py  locks by conditional put
    sealed.py       bytes as they were written, and whether they still are
    sheets.py       cells of CSVs that people open
    store_format.py the version of a store's form
    urls.py         files that lie elsewhere, and URLs without what lets people in
    web.py          files of web servers
"""
