"""The comparison of strategies over sets and seeds: whole runs in memory, statistics, figures, a page."""
