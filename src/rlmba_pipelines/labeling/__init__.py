"""Who answers: the simulated oracle, or people through files."""

from rlmba_pipelines.labeling.files import AnswerReport, read_answers, sheet_of
from rlmba_pipelines.labeling.oracle import Oracle, PeopleOracle, SimulatedOracle, WaitingForLabels

__all__ = [
    "AnswerReport",
    "Oracle",
    "PeopleOracle",
    "SimulatedOracle",
    "WaitingForLabels",
    "read_answers",
    "sheet_of",
]
