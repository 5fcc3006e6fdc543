"""The chain that is proposed to annotators beside an answer."""

import json

import numpy as np

from rlmba_pipelines.learning.vlm.chains import split_chain
from rlmba_pipelines.models.vlm.score import Said
from rlmba_pipelines.simulation.questions import _proposals

CLASSES = ("cat", "dog", "owl")


def proposed(texts, chains_KC):
    nothing = np.zeros((1, 1))
    said = Said(np.array(["q"]), (texts,), np.array([chains_KC]), *[nothing] * 7)
    (row,) = _proposals(said, [[split_chain(text) for text in texts]], CLASSES).to_dict("records")
    return json.loads(row["chain"]), row["answer"]


def test_the_chain_that_is_proposed_ends_in_the_answer_that_is_proposed():
    sampled = ("fur so cat", "it barks so dog", "paws so cat")
    surest_elsewhere = [[0.45, 0.5, 0.05], [0.6, 0.2, 0.2], [0.5, 0.0, 0.5]]
    assert proposed(sampled, surest_elsewhere) == (["paws"], "cat")


def test_where_no_chain_ends_in_the_likeliest_answer_the_one_that_is_surest_of_it_is_proposed():
    assert proposed(("wings so owl", "it barks so dog"), [[0.5, 0.1, 0.4], [0.6, 0.3, 0.1]]) == (["it barks"], "cat")
