"""Choose: spend ``query_size`` labels on rows whose worth somebody else has scored.

``top_k`` the highest, ``k_center`` the farthest from what is covered, ``kmeans_pp`` drawn in proportion to squared
distance, ``herding`` the best coverage of what is worth labeling. Differences below the stated numerical resolution
are ties, and a tie goes to the first sample id: block sizes, threads and row order decide speed, never the answer.
"""
