"""The command line: one file a family of verbs.

In: words typed. Out: results on stdout, progress on stderr, exit codes. Calls everybody; nobody calls it.

    app.py      each verb a thin face on one call
    compare.py  its verbs that judge selections and columns
    label.py    its verbs for labels
    store.py    its verbs that look after a store
"""
