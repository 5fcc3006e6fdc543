"""AMCB on worlds whose information is known: measured contributions are the exact ones, and the weights follow them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rlmba_pipelines.config import FusionConfig, Parameters, RoundsConfig
from rlmba_pipelines.learning.balance import modality_weights, published_gap
from rlmba_pipelines.learning.types import Features
from rlmba_pipelines.simulation import RoundResult, simulate
from rlmba_pipelines.simulation.synthetic import Atom, World, synthetic_task

WORLD = World(
    ("image", "text", "audio", "video", "static"),
    (
        Atom(0.14, ("image",)),
        Atom(0.06, ("image", "text")),
        Atom(0.16, ("audio", "video"), "both"),
    ),
)
EXACT = np.array([0.17, 0.03, 0.08, 0.08, 0.0])  # .14 + .06 / 2, .06 / 2, .16 / 2, .16 / 2, nothing
SEEDS, N_VALIDATION = (0, 1, 2), 2000
UNLEARNED = 0.01  # what a network that has not seen everything may miss
LEARNER = FusionConfig(
    width=16, n_heads=2, dropout=0, modality_dropout=0.2, learning_rate=0.05, weight_decay=0, epochs=16,
    train_batch_size=128, device="cpu",
)


def runs_of(world: World, seed: int, *, rounds: int, twins: tuple[str, str] | None = None) -> list[RoundResult]:
    """Measured rounds of a run that draws its labels; the second of ``twins`` gets the features of the first."""
    asked = RoundsConfig(
        rounds=rounds, start_size=900, query_size=400, start_strategy="random", strategy="random", seed=seed
    )
    parameters = Parameters(rounds=asked, fusion=LEARNER)
    n_pool = 900 + 400 * rounds
    task, answer = synthetic_task(
        world, np.random.default_rng(seed), n_pool=n_pool, n_validation=N_VALIDATION, parameters=parameters
    )
    if twins:
        blocks = {**task.features.blocks, twins[1]: task.features.blocks[twins[0]]}
        task = replace(task, features=Features(task.features.sample_ids, blocks, task.features.present_NM))
    return [result for result in simulate(task, answer) if result.validation]


def measured(result: RoundResult, name: str, world: World = WORLD) -> np.ndarray:
    return np.array([result.validation[f"{name}_{modality}"] for modality in world.modalities])


def spread_of(world: World) -> np.ndarray:
    """Standard deviation of a contribution that is measured on N_VALIDATION samples: an event that k modalities can
    read gives each of them 1/k, so its variance is ``(sum share / k^2 - phi^2) / N``."""
    second_M = [
        sum(atom.share / len(atom.modalities) ** 2 for atom in world.atoms if name in atom.modalities)
        for name in world.modalities
    ]
    return np.sqrt((np.array(second_M) - world.contributions() ** 2) / N_VALIDATION)


@pytest.fixture(scope="module")
def runs() -> dict[int, list[RoundResult]]:
    return {seed: runs_of(WORLD, seed, rounds=2) for seed in SEEDS}


names = ("a", "b", "c", "d")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    atoms = []
    for read_by in draw(st.lists(st.sampled_from(["any", "both", "parity"]), max_size=3)):
        least, most = (1, 4) if read_by == "any" else (2, 2)
        held = draw(st.lists(st.sampled_from(names), min_size=least, max_size=most, unique=True))
        atoms.append(Atom(draw(st.floats(0.01, 0.07)), tuple(held), read_by, decoys=draw(st.floats(1, 2))))
    return World(names, tuple(atoms), n_events=draw(st.integers(2, 4)))


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_the_worth_of_a_set_by_bayes_rule_is_nothing_and_the_shares_of_the_atoms_it_can_read(world):
    total = sum(atom.share for atom in world.atoms)
    assert sum(row.probability for row in world.rows()) == pytest.approx(1)
    for seen in (frozenset(s) for s in ("", "a", "ab", "bcd", "abcd")):
        read = sum(
            atom.share
            for atom in world.atoms
            if (seen & set(atom.modalities) if atom.read_by == "any" else seen >= set(atom.modalities))
        )
        assert world.bayes_accuracy(seen) == pytest.approx(1 - total + read)
    held = [sum(atom.share / len(atom.modalities) for atom in world.atoms if name in atom.modalities) for name in names]
    assert_allclose(world.contributions(), held, atol=1e-12)


def test_samples_are_as_frequent_as_the_table_says():
    y_N, blocks = WORLD.sample(20_000, np.random.default_rng(0))
    assert_allclose(np.bincount(y_N) / len(y_N), [0.64, 0.12, 0.12, 0.12], atol=4 * np.sqrt(0.25 / 20_000))
    assert {name: block.shape for name, block in blocks.items()} == dict.fromkeys(WORLD.modalities, (20_000, 13))


def test_worlds_that_cannot_be_are_refused():
    for atom in (Atom(0.1, ()), Atom(0.1, ("a", "z")), Atom(0.1, ("a", "a")), Atom(0.1, ("a",), "both"),
                 Atom(0.1, ("a", "b", "c"), "parity")):
        with pytest.raises(ValueError, match="needs modalities of"):
            World(("a", "b", "c"), (atom,))
    with pytest.raises(ValueError, match="a hint alone"):
        World(("a", "b"), (Atom(0.1, ("a", "b"), "both", decoys=0.5),))
    with pytest.raises(ValueError, match="blank"):
        World(("a", "b"), (Atom(0.45, ("a", "b"), "both"),))


@pytest.mark.parametrize("seed", SEEDS)
def test_measured_contributions_are_the_exact_ones_up_to_the_luck_of_validation(runs, seed):
    assert_allclose(WORLD.contributions(), EXACT, atol=1e-12)
    found_M = measured(runs[seed][-1], "shapley")
    assert (np.abs(found_M - EXACT) <= 4 * spread_of(WORLD) + UNLEARNED).all(), found_M
    image, text, audio, video, static = found_M
    assert image > max(audio, video)
    assert min(audio, video) > text > static


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_go_to_those_of_the_exact_contributions(runs, seed):
    right_M = modality_weights(EXACT, floor=0.1)
    luck_M = (4 * spread_of(WORLD) + UNLEARNED) / EXACT.sum()
    expected_M = np.full(5, 0.2)
    gaps = [np.abs(expected_M - right_M).sum()]
    for result in runs[seed][:-1]:  # the closing measurement moves no weights
        expected_M = modality_weights(EXACT, previous_M=expected_M, ema=0.5, floor=0.1)
        assert (np.abs(result.state.weights_M - expected_M) <= luck_M).all(), result.state.weights_M
        gaps.append(np.abs(result.state.weights_M - right_M).sum())
    assert gaps[1] < 0.65 * gaps[0]
    assert gaps[2] < 0.4 * gaps[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_gets_its_floor(runs, seed):
    found_M = modality_weights(measured(runs[seed][-1], "shapley"), floor=0.1)
    assert 0.1 / 5 - 1e-12 <= found_M[-1] <= 0.1 / 5 + UNLEARNED


@pytest.mark.parametrize("seed", SEEDS)
def test_what_tells_only_together_gets_equal_worth_though_each_alone_is_worth_nothing(runs, seed):
    last = runs[seed][-1]
    majority = np.bincount([y == "nothing" for y in last.labels["label"]])[1] / len(last.labels)
    for alone in measured(last, "accuracy")[2:4]:
        assert alone == pytest.approx(majority, abs=0.05)
    audio, video = measured(last, "shapley")[2:4]
    assert min(audio, video) > 0.05
    assert abs(audio - video) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_the_published_gap_takes_what_tells_only_together_for_noise(runs, seed):
    alone_M = np.array([WORLD.bayes_accuracy(frozenset({name})) for name in WORLD.modalities])
    together = WORLD.bayes_accuracy(frozenset(WORLD.modalities))
    published_M = modality_weights(published_gap(alone_M, together), prior="published", temperature=0.1)
    assert_allclose(published_M[2:4], published_M[4])  # softmax of .64 - 1 for all three: exact, and wrong
    last = runs[seed][-1]
    gap_M = published_gap(measured(last, "accuracy"), last.validation["accuracy"])
    found_M = modality_weights(gap_M, prior="published", temperature=0.1)
    assert_allclose(found_M[2:4], found_M[4], atol=0.02)
    assert modality_weights(measured(last, "shapley"))[2:4].min() > 10 * UNLEARNED


def test_identical_modalities_share_evenly():
    world = World(("image", "text", "static"), (Atom(0.3, ("image", "text")),))
    last = runs_of(world, 0, rounds=1, twins=("image", "text"))[-1]
    found_M = measured(last, "shapley", world)
    assert_allclose(found_M, [0.15, 0.15, 0], atol=4 * spread_of(world).max() + UNLEARNED)
    assert abs(found_M[0] - found_M[1]) < UNLEARNED
    assert_allclose(modality_weights(found_M), [0.5, 0.5, 0], atol=0.03)


@pytest.mark.parametrize("changes", [{}, {"activation": "gelu"}, {"fusion": "convex"}, {"fusion": "gated"}])
def test_no_fusion_of_this_project_learns_parity_so_amcb_calls_such_a_pair_worthless(changes):
    """Every fusion adds up what modalities say (a gate scales it), and parity has no additive part: a known limit."""
    world = World(("image", "text"), (Atom(0.2, ("image", "text"), "parity"),))
    assert_allclose(world.contributions(), [0.1, 0.1])
    parameters = Parameters(
        rounds=RoundsConfig(rounds=1, start_size=900, start_strategy="random"),
        fusion=LEARNER.model_copy(update={**changes}),
    )
    task, answer = synthetic_task(
        world, np.random.default_rng(0), n_pool=900, n_validation=N_VALIDATION, parameters=parameters
    )
    last = list(simulate(task, answer))[-1]
    assert last.validation["accuracy"] < 0.8 + 4 * np.sqrt(0.16 / N_VALIDATION)
    assert np.abs(measured(last, "shapley", world)).max() < 0.03


def test_masks_undervalue_a_pair_whose_single_hints_are_evidence_of_nothing():
    """One additive head cannot be right under all masks here, so what it says without one of the pair is too bold and
    its contributions, measured by masks, are too low: a known limit. The sum stays what all add over none."""
    world = World(
        WORLD.modalities,
        (Atom(0.12, ("image",)), Atom(0.04, ("image", "text")), Atom(0.08, ("audio", "video"), "both", decoys=4)),
    )
    first = runs_of(world, 0, rounds=1)[0]
    found_M = measured(first, "shapley", world)
    assert_allclose(world.contributions(), [0.14, 0.02, 0.04, 0.04, 0], atol=1e-12)
    assert first.validation["accuracy"] > 0.95
    assert found_M[2:4].max() < 0.02
    assert found_M[0] > 0.17
    assert found_M.sum() == pytest.approx(0.24, abs=0.05)
