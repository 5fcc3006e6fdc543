"""Every registered strategy through whole rounds in memory; no label that was not bought reaches any of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.config import FusionConfig, Parameters, RoundsConfig
from rlmba_pipelines.learning.acquisition import get_strategy, strategy_names
from rlmba_pipelines.learning.types import Features
from rlmba_pipelines.reporting.reasons import NOT_TERMS, reasons_in_words
from rlmba_pipelines.reporting.words import term_meaning
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.round import Task, decide_round, open_round, start_round
from rlmba_pipelines.simulation.tables import terms_to_frame
from rlmba_pipelines.simulation.toy import toy_task

N_POOL, N_VALIDATION, CLASSES = 90, 20, ("red", "green", "blue")
IDS = np.array([f"s{i:03d}" for i in range(N_POOL + N_VALIDATION)])
TRUTH = np.random.default_rng(0).integers(len(CLASSES), size=len(IDS))
CONTROLS = ("unimodal:image:margin", "unimodal:text:badge")


def task(strategy: str) -> Task:
    rng = np.random.default_rng(1)
    centers = {name: rng.normal(size=(len(CLASSES), 6)) for name in ("image", "text")}
    blocks = {
        name: (center[TRUTH] + rng.normal(size=(len(IDS), 6))).astype(np.float32) for name, center in centers.items()
    }
    present_NM = np.ones((len(IDS), 2), dtype=bool)
    present_NM[::7, 0] = False
    split = np.where(np.arange(len(IDS)) < N_POOL, "pool", "validation")
    labels = pd.DataFrame({"sample_id": IDS, "label": [CLASSES[c] for c in TRUTH]})
    return Task(
        features=Features(IDS, blocks, present_NM),
        samples=pd.DataFrame({"sample_id": IDS, "split": split, "cost": 1.0}),
        validation=labels[split == "validation"],
        test=labels[:0],
        classes=CLASSES,
        parameters=Parameters(
            rounds=RoundsConfig(strategy=strategy, rounds=2, start_size=15, query_size=10),
            fusion=FusionConfig(width=8, min_steps=20, predict_batch_size=64, device="cpu"),
        ),
    )


def answers(truth: np.ndarray, asked: list[str]):
    def answer(batch: pd.DataFrame) -> pd.DataFrame:
        asked.extend(batch["sample_id"])
        label = dict(zip(IDS, (CLASSES[c] for c in truth), strict=True))
        return pd.DataFrame(
            {
                "sample_id": batch["sample_id"],
                "label": batch["sample_id"].map(label),
                "purpose": batch["purpose"],
                "round": batch["round"],
                "annotator": "oracle",
                "cost": batch["cost"],
            }
        )

    return answer


@pytest.mark.parametrize("strategy", [*strategy_names(), *CONTROLS])
def test_a_strategy_runs_whole_rounds_and_sees_no_label_that_was_not_bought(strategy: str) -> None:
    asked: list[str] = []
    results = list(simulate(task(strategy), answers(TRUTH, asked)))
    assert [len(r.batch) for r in results] == [15, 10, 10, 0]
    assert len(set(asked)) == 35

    poisoned = np.where(np.isin(IDS, asked), TRUTH, (TRUTH + 1) % len(CLASSES))
    again = list(simulate(task(strategy), answers(poisoned, [])))
    assert [r.batch["sample_id"].tolist() for r in again] == [r.batch["sample_id"].tolist() for r in results]


WAVERS, HESITATES = "the model wavers between two classes", "the model hesitates between many classes"
DISAGREE, COVERS = "the members of the ensemble disagree", "it stands for samples that nothing labeled covers yet"
UNLIKE, MOVES = "unlike anything labeled so far", "its label would move the model in a way of its own"
ALONE = {f"the {m} alone leaves it open{end}" for m in ("image", "text") for end in ("", ", and it counts most now")}
NOTHING = {"no single sign stands out", "no single sign stands out, several add up"}
SAYS = {
    "active_vlm": {DISAGREE, COVERS, *ALONE},
    "active_vlm_core_set": {DISAGREE, UNLIKE, *ALONE},
    "alfa_mix": {"mixed with labeled samples it changes its class", "drawn at random"},
    "badge": {MOVES},
    "bait": {"its label would settle much of what the model is unsure of"},
    "bald": {DISAGREE, HESITATES},
    "batch_bald": {DISAGREE},
    "bmmal": {MOVES},
    "cluster_margin": {WAVERS, "it is among the least clear of the pool, and every group has its turn"},
    "core_set": {UNLIKE},
    "coverage": {COVERS},
    "deepfool": {"it lies close to a border between two classes"},
    "drop_query": {"its class changes when features are dropped", "drawn at random"},
    "entropy": {HESITATES, *NOTHING},
    "falcun": {WAVERS, "its prediction is unlike those chosen before it", *NOTHING},
    "galaxy": {"in the order of one class, it lies where the labels change", "drawn at random"},
    "gcnal": {UNLIKE},
    "herding": {WAVERS, COVERS, *ALONE},
    "least_confidence": {"its likeliest class is less likely than elsewhere in the pool"},
    "margin": {WAVERS, *NOTHING},
    "max_herding": {COVERS},
    "power_margin": {WAVERS, *NOTHING},
    "probcover": {COVERS},
    "random": {"drawn at random"},
    "rank_aggregation": {"several scores together rank it high"},
    "rl_mba_published": {"drawn from the samples that are most uncertain and most isolated"},
    "tailor": {"one of several strategies asked for it"},
    "typiclust": {"it is typical of a group that has no label yet", "it is typical of its group"},
    "uncertainty_herding": {WAVERS, COVERS},
    "unimodal:image:margin": {*ALONE, *NOTHING},
    "unimodal:text:badge": {MOVES},
}
"""What is true of a strategy's choice and may be said of it."""


@pytest.mark.parametrize("strategy", [*strategy_names(), *CONTROLS])
def test_a_batch_knows_why_it_was_chosen_and_says_only_what_is_true_of_its_strategy(strategy: str) -> None:
    assert strategy in SAYS, f"add a row to SAYS (here): the sentences that may be said of a choice of {strategy!r}"
    given = task(strategy)
    start = start_round(given, answers(TRUTH, []))
    opened = open_round(start.state, given, start.labels_next)
    chosen = decide_round(opened, given, answers(TRUTH, []))
    batch, ids = chosen.batch, chosen.batch["sample_id"].to_numpy(dtype=str)

    assert np.isfinite(batch["utility"]).all()  # the score, or the marginal gain where there is one
    if "herding" in strategy or strategy in ("coverage", "probcover"):
        assert (batch["coverage_gain"].diff().dropna() <= 1e-6).all()
        assert batch["coverage_gain"].between(0, 1).all()
    for name, column in opened.terms.take(ids).columns.items():
        assert batch[f"known_{name}"].tolist() == column.tolist()
    of_both = given.features.take(ids).present_NM.all(axis=1)
    for prefix in ("known_weight_", *(["weight_"] if "weights" in get_strategy(strategy).requires else [])):
        weights = batch[[f"{prefix}image", f"{prefix}text"]]
        assert weights.sum(axis=1).to_numpy() == pytest.approx(1)
        assert weights[of_both].to_numpy() == pytest.approx(np.tile(chosen.state.weights_M, (of_both.sum(), 1)))

    batch = batch[[name for name in batch.columns if not name.startswith("known_")]]
    shown = batch.assign(image=np.where(given.features.take(ids).present_NM[:, 0], "a.png", None), text="a word")
    for sentence in reasons_in_words(shown, terms_to_frame(opened.terms), ("image", "text")):
        said = (sentence[0].lower() + sentence[1:]).removesuffix(".").split("; ")
        assert set(said) <= SAYS[strategy], (
            f"say in OWN_SIGNS of reporting/words.py what the columns of {strategy!r} tell of a sample, and in SAYS "
            "(here) which sentences are true of it"
        )
    untold = [name for name in set(batch.columns) - NOT_TERMS if not term_meaning(name)]
    assert not untold, f"say in GLOSSARY of reporting/words.py what these columns of {strategy!r} measure: {untold}"


@pytest.mark.parametrize("query_size", [1, 2])
def test_a_run_that_buys_a_label_or_two_a_round_has_two_to_start_from_and_goes_on(query_size: int) -> None:
    asked, answer = toy_task(np.random.default_rng(0), rounds=RoundsConfig(query_size=query_size, rounds=4))
    results = list(simulate(replace(asked, validation=asked.validation[:0]), answer))
    assert results[0].batch["purpose"].tolist() == ["training", "training"]
    assert len(results[-1].labels) == 2 + 4 * query_size
    assert results[-1].validation["n"] == 1
