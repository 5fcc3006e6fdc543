"""A whole round in memory, made of the very functions that the Kedro nodes call."""

from rlmba_pipelines.simulation.round import RoundResult, run_round, simulate

__all__ = ["RoundResult", "run_round", "simulate"]
