"""The command line: one file a family of verbs.

In: words typed. Out: results on stdout, progress on stderr, exit codes. Calls everybody; nobody calls it.

    app.py            the verbs in their families, and the entry point
    families.py       the families, and how a verb joins one
    choose.py         pick, init, plan, run
    look.py           report, view, why, sql, runs, explain, compare, tune, probe
    publish.py        path, diff, approve, hold
    label.py          tasks out, answers in
    store.py          where, forget, verify, gc, compact
    operate.py        serve, doctor, demo, and what recipes may say
    spans.py          how long a time is, as people type it
    engines.py        which engine carries a run
    recipe_schema.py  the JSON Schema of recipes
    health.py         what is installed here, and whether it works
"""
