"""Steps that resemble a target.

Each file one published method; scores higher where a sample is more like it.

    benchmark_ranking.py near to any of several benchmarks, each ranking by itself
    density_ratio.py     importance resampling on embeddings
    importance.py        importance resampling, published and our form
    importance_facts.py  KL reduction, coverage, lengths, n-grams gained and lost
    importance_unseen.py scores of target samples, as if the fit had not seen them
    log_ratio.py         of an n-gram's frequencies in target and pool
    loss_reduction.py    loss under the pool's model minus loss under the target's
    norm_sim.py          near a target, as one norm
    quality_mask.py      the published quality mask
    set_selection.py     the set whose n-grams tell the target best
    shrinkage.py         means of few n-grams, drawn to the pool's
    target_clusters.py   what lies in a cluster of the target
    target_coverage.py   the set that serves every sample of a target
    tsds.py              the pool carried onto the target, copies counted once
"""
