"""Arithmetic over vectors that several steps share.

In: columns of float16. Out: neighbours, clusters, codes. The nearest is told in float64 where float32 can't.

    clustered.py     clusters of a pool that is never held
    codes.py         k-means codes of vectors
    columns.py       vectors in columns
    faiss_search.py  neighbours found on a GPU
    k_means.py       clusters
    nearest.py       which vector is nearest, by GPU or processor
"""
