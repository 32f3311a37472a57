"""What is asked: one YAML file as frozen models, its steps as what will run, checked before anything starts.

In: text or a dict. Out: `Recipe`, `StepPlan`. Knows selectors, and neither pool nor store.

    expressions.py  the user's SQL: one SELECT, or one expression
    extras.py       which extras are needed, and the command that installs them
    limits.py       how much one record of a source may be
    model.py        what all models are: frozen, strict
    outputs.py      what may be emitted
    plans.py        a recipe's steps as what will run
    publish.py      when consumers are given a run's selection
    recipe.py       the whole, and a recipe read from YAML
    reference.py    each key with its type, its default and what it means
    source.py       a source: its format and its fields
    user_code.py    the user's own Python, run only where that was allowed
"""
