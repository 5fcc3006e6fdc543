"""Where work runs: ``map_shards`` on this machine."""

from rlmba_pipelines.engines.local import map_shards

__all__ = ["map_shards"]
