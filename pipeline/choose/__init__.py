"""The steps: fit, score shard by shard, choose with one query, write the ledger, and the selection.

In: a run whose columns stand. Out: ledger and selection. Selectors come from selectors/, queries from sql/; a
budget is spent by sql/choose_budget.sql.

    batches.py    what a step sees of a shard: its candidates with fields and columns
    decide.py     one query over a step's scores, ledger and record
    drawn.py      rows of a stream, drawn by a hash, in bounded memory
    facts.py      a choice, as selectors tell of it
    found.py      how much of the target's kind a step finds, and how many there are
    groups.py     what is left of each source and value, and guards
    history.py    how what is new differs from what earlier runs saw
    ledger.py     decisions into ledger parts, counted
    selection.py  the selection
    spikes.py     samples of the target that a step has not seen, scored
    steps.py      one step: fit, score shard by shard
"""
