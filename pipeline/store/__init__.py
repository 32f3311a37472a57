"""A store and its runs, opened from any process.

In: a folder. Out: `Run`, answers in SQL, the manifest; looking after a store. Knows columns and recipe; decides
nothing.

    compact.py      small shards merged, with their columns
    costs.py        what each task of a run cost
    current.py      what is published, and who decided so
    database.py     DuckDB in memory over Parquet
    garbage.py      what no run needs, and taking it away
    listing.py      the runs of a store
    learned.py      what a step learned, stored without pickle
    manifest.py     provenance, and verify
    old_runs.py     which runs are old, thinning them, pins
    query.py        SQL over a run, locked
    runs.py         a run's folder, and what it needs to be opened again
    set_aside.py    what no step may choose: forgotten, or kept earlier
    tidy.py         all of that after a night
    whereabouts.py  all that a store holds of a key, and taking it out
"""
