"""Pre-training: a planted optimum is found, noise is not learned, and the policy treats all modalities alike."""

from __future__ import annotations

import numpy as np
import pytest

from rlmba_pipelines.config import PolicyConfig
from rlmba_pipelines.learning.mdp import State
from rlmba_pipelines.learning.policy import pretrained
from rlmba_pipelines.learning.policy.pretrained import (
    SHAPES,
    STEP,
    PretrainedPolicy,
    coordinates,
    fold_for,
    provenance,
    read_weights,
)
from rlmba_pipelines.learning.pretraining import Fitted, Trials, fit
from rlmba_pipelines.learning.theta import SHARED_COORDINATES, action_at, coordinates_of
from rlmba_pipelines.learning.types import Action, UserError
from rlmba_pipelines.simulation.steps import first_state

PRIOR = Action(fused_kernel=0.2, balanced_kernel=0.4, raw_kernel=0.4)
EXPONENT, FUSED = SHARED_COORDINATES.index("exponent"), SHARED_COORDINATES.index("fused_uncertainty")


def seen(rng: np.random.Generator) -> State:
    return State(
        accuracy=rng.uniform(0.3, 0.8),
        nll=rng.uniform(0.2, 0.8),
        ece=rng.uniform(0.0, 0.3),
        imbalance=rng.uniform(0.0, 1.0),
        spent=rng.uniform(0.0, 0.3),
        contribution={"image": rng.uniform(0.0, 0.5), "text": rng.uniform(0.0, 0.5)},
        doubt=rng.uniform(0.2, 0.8),
        modality_doubt={"image": 0.5, "text": 0.5},
    )


def best(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Where the planted gain is largest."""
    shared_G = np.zeros(len(SHARED_COORDINATES))
    shared_G[EXPONENT] = 3.0 * (state.accuracy - 0.55)
    shared_G[FUSED] = 0.6
    tilt_MT = np.zeros((2, 2))
    tilt_MT[:, 1] = 2.0 * np.array([state.contribution["image"], state.contribution["text"]])
    return shared_G, tilt_MT - tilt_MT.mean(axis=0)


def episodes(n: int, noise: float, rng: np.random.Generator, *, planted: bool = True) -> list[list[Trials]]:
    return [[trials(noise, rng, planted) for _ in range(6)] for _ in range(n)]


def trials(noise: float, rng: np.random.Generator, planted: bool) -> Trials:
    state = seen(rng)
    drawn = [(rng.normal(size=6), rng.normal(size=(2, 2))) for _ in range(4)]
    actions = [PRIOR, *(action_at(PRIOR, z_G, z_MT, ["image", "text"]) for z_G, z_MT in drawn)]
    gains = noise * rng.normal(size=len(actions))
    if planted:
        shared_G, tilt_MT = best(state)
        for i, action in enumerate(actions):
            z_G, z_MT = coordinates_of(PRIOR, action, ["image", "text"])
            z_MT = z_MT - z_MT.mean(axis=0)
            gains[i] -= 0.005 * (((z_G - shared_G) ** 2).sum() + ((z_MT - tilt_MT) ** 2).sum())
    return Trials(state, tuple(actions), tuple((rng.uniform(0.4, 0.6) + gains).tolist()))


def worth(fitted: Fitted, rng: np.random.Generator) -> float:
    """Mean planted gain of the policy over the prior, as a share of that of the best θ."""
    won = possible = 0.0
    for state in (seen(rng) for _ in range(200)):
        (best_G, best_MT), (found_G, found_MT) = best(state), coordinates(fitted.weights, state, ["image", "text"])
        at_best = (best_G**2).sum() + (best_MT**2).sum()
        possible += at_best
        won += at_best - ((found_G - best_G) ** 2).sum() - ((found_MT - best_MT) ** 2).sum()
    return won / possible


def test_without_noise_the_planted_optimum_is_found_in_states_never_seen():
    fitted = fit(episodes(40, 0.0, np.random.default_rng(0)), PRIOR)
    assert fitted.r2 > 0.95
    assert worth(fitted, np.random.default_rng(1)) > 0.95


def test_under_the_noise_of_training_most_of_what_can_be_gained_is_gained():
    # 0.005 of accuracy between trials of one state, as much as half a unit of θ is worth
    fits = [fit(episodes(80, 0.005, np.random.default_rng(seed)), PRIOR) for seed in range(5)]
    assert np.mean([worth(fitted, np.random.default_rng(99)) for fitted in fits]) > 0.6


def test_where_nothing_can_be_gained_the_policy_keeps_to_the_prior():
    at_prior = 0
    for s in range(10):
        fitted = fit(episodes(40, 0.01, np.random.default_rng(s), planted=False), PRIOR)
        at_prior += not (fitted.weights["shared"].any() or fitted.weights["modality"].any())
    assert at_prior >= 7


def test_too_few_episodes_are_refused():
    with pytest.raises(ValueError, match="at least 5 episodes, got 4"):
        fit(episodes(4, 0.0, np.random.default_rng(0)), PRIOR)


def made_up_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: 1.0 + np.abs(rng.normal(size=shape)) for name, shape in SHAPES.items()}


def test_the_policy_is_equivariant_in_the_modalities_and_never_steps_too_far():
    rng = np.random.default_rng(0)
    for _ in range(50):
        policy = PretrainedPolicy(PRIOR, "made up", made_up_weights(rng))
        state = seen(rng)
        shared_G, tilt_MT = coordinates(policy.weights, state, ["image", "text"])
        swapped_G, swapped_MT = coordinates(policy.weights, state, ["text", "image"])
        assert (shared_G == swapped_G).all()
        np.testing.assert_allclose(tilt_MT[::-1], swapped_MT, atol=1e-12)
        assert max(abs(shared_G).max(), abs(tilt_MT).max()) <= STEP


def test_states_unlike_any_of_the_training_act_like_the_farthest_of_them():
    policy = PretrainedPolicy(PRIOR, "made up", made_up_weights(np.random.default_rng(0)))
    far, farther = (State(0.5, nll, 0.1, 0.1, 0.1, {"image": 0.1}) for nll in (20.0, 1000.0))
    assert policy.act(far) == policy.act(farther)


def test_every_fold_is_shipped_whole_and_a_family_is_known_by_its_classes():
    about = provenance()
    assert set(about["folds"]) == {"all", *(f"without_{family}" for family in about["families"])}
    for fold in about["folds"]:
        PretrainedPolicy.start(PRIOR, np.random.default_rng(0), (), fold=fold)
    for family, classes in about["families"].items():
        assert fold_for(classes) == fold_for(classes[: len(classes) // 2]) == f"without_{family}"
    some = about["families"]["han"][:3]
    assert fold_for(some) == "without_han"
    assert fold_for([*some, "a", "b", "c"]) == fold_for(()) == "all"


def test_a_run_takes_the_weights_that_never_saw_its_family():
    classes = tuple(provenance()["families"]["emoji"][:20])
    state = first_state(("image", "text"), classes, 0, PolicyConfig(name="pretrained"))
    assert state.policy["fold"] == "without_emoji"
    asked = PolicyConfig(name="pretrained", options={"fold": "all"})
    assert first_state(("image", "text"), classes, 0, asked).policy["fold"] == "all"


def test_unknown_folds_and_weights_that_are_not_those_shipped_are_refused_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no fold 'nobody'; it has: all, without_emoji"):
        read_weights("nobody")
    for file in pretrained._folder().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = bytearray((tmp_path / "all.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "all.safetensors").write_bytes(content)
    monkeypatch.setattr(pretrained, "_folder", lambda: tmp_path)
    with pytest.raises(UserError, match="'all' are not those that were shipped: install rlmba_pipelines again"):
        read_weights("all")
