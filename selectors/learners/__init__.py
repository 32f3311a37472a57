"""Models that selectors fit: small, closed or convex, the same every time.

In: arrays. Out: weights. Called by match, balance, active.

    confident_learning.py  which, from probabilities that did not see them
    folds.py               by content, so that nothing is judged by its copy
    heads.py               the head that predicts classes
    lasso.py               which few columns make up a vector
    logistic.py            the discriminator
    one_vs_all.py          linear classifiers, each class against all others
"""
