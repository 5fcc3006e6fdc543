"""Evidence: opinions of modalities, their fusion, and the terms that say which sample is worth a label.

``opinions`` turns what a model says into Dirichlet evidence, ``fusion`` joins the modalities, ``terms`` reads off what
is not known. One opinion, everywhere: evidence ``e >= 0``, ``alpha = e + 1``, strength ``S = sum alpha``, belief
``b = e / S``, vacuity ``u = C / S``, mean ``p = alpha / S``, so that ``sum b + u = 1``.
"""

from rlmba_pipelines.learning.evidence.fusion import (
    RULES,
    dempster,
    discounted,
    fuse,
    share_of_present,
    true_mean,
    trust_of,
    weighted_average,
)
from rlmba_pipelines.learning.evidence.opinions import (
    MOST_EVIDENCE,
    SOURCES,
    calibrated_evidence,
    evidence_of,
    match_moments,
)
from rlmba_pipelines.learning.evidence.terms import (
    FUSED_TERMS,
    MODALITY_TERMS,
    SINGLE_TERMS,
    conflict,
    dissonance,
    entropy,
    expected_entropy,
    expected_probabilities,
    margin,
    mutual_information,
    terms_of,
    uncertainty,
    vacuity,
)

__all__ = [
    "FUSED_TERMS",
    "MODALITY_TERMS",
    "MOST_EVIDENCE",
    "RULES",
    "SINGLE_TERMS",
    "SOURCES",
    "calibrated_evidence",
    "conflict",
    "dempster",
    "discounted",
    "dissonance",
    "entropy",
    "evidence_of",
    "expected_entropy",
    "expected_probabilities",
    "fuse",
    "margin",
    "match_moments",
    "mutual_information",
    "share_of_present",
    "terms_of",
    "true_mean",
    "trust_of",
    "uncertainty",
    "vacuity",
    "weighted_average",
]
