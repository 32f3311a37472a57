"""Prefect: order, retries, schedules. No logic; the only folder that imports it.

In: a run's folder, or a recipe with a schedule. Out: the same files as the plain loop. Calls pipeline/.

    curate.py    a run as a flow
    night.py     the next run of a recipe, and what its page shows of it
    cluster.py   the same on a Ray cluster
    deployed.py  what prefect.yaml and `serve` deploy: curate, embed, a round of labels
    serve.py     a recipe as a deployment with a schedule
    watch.py     new files begin a run
    server.py    a Prefect API for as long as it is needed
    settings.py  a quiet embedded server
"""
