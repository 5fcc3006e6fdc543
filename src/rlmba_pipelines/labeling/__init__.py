"""Who answers: the simulated oracle, or people through files; and what several answers come to."""

from rlmba_pipelines.labeling.agreement import DISPUTE, SETTLED, annotator_table, krippendorff_alpha, resolve
from rlmba_pipelines.labeling.files import AnswerFile, read_answers, sheet_of, texts_of
from rlmba_pipelines.labeling.oracle import Oracle, PeopleOracle, SimulatedOracle, WaitingForLabels
from rlmba_pipelines.labeling.sorting import Asked, Sorted, label_meant, sort_answers

__all__ = [
    "DISPUTE",
    "SETTLED",
    "AnswerFile",
    "Asked",
    "Oracle",
    "PeopleOracle",
    "SimulatedOracle",
    "Sorted",
    "WaitingForLabels",
    "annotator_table",
    "krippendorff_alpha",
    "label_meant",
    "read_answers",
    "resolve",
    "sheet_of",
    "sort_answers",
    "texts_of",
]
