"""Every registered strategy inherits these laws by being registered."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from rlmba_pipelines.learning.acquisition import get_strategy, select_batch, strategy_names
from rlmba_pipelines.learning.acquisition.views import take
from rlmba_pipelines.learning.policy import start_policy
from rlmba_pipelines.learning.testing import SELECTOR_LAWS, STRATEGY_LAWS, make_view
from rlmba_pipelines.learning.types import Action, UserError


@pytest.mark.parametrize("law", SELECTOR_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_chooses_by_the_laws(name, law):
    law(partial(select_batch, name))


@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_keeps_the_laws_of_the_registry(name, law):
    law(name)


@pytest.mark.parametrize("name", strategy_names())
def test_a_registry_key_is_the_name_of_its_module(name):
    strategy = get_strategy(name)
    assert strategy.function.__module__.rsplit(".", 1)[-1] == name
    assert strategy.function.__name__ == name


@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_can_be_documented_from_the_registry(name):
    strategy = get_strategy(name)
    assert strategy.idea.endswith(".")
    assert "\n" not in strategy.idea
    assert strategy.cost.startswith("O(")
    assert strategy.reference
    assert strategy.formula
    assert strategy.when.endswith(".")
    assert all(strategy.options_from.values())


ONE_SOURCE = ("image",)


@pytest.mark.parametrize("law", SELECTOR_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", [f"unimodal:image:{inner}" for inner in ("margin", "badge", "herding", "core_set")])
def test_a_control_on_one_modality_chooses_by_the_same_laws(name, law):
    law(partial(select_batch, name))


@pytest.mark.parametrize("inner", ["margin", "badge", "herding", "entropy"])
def test_on_data_of_one_modality_the_control_is_the_strategy_itself(inner):
    view = make_view(40, 8, modalities=ONE_SOURCE)
    predictions = view.predictions
    alone = replace(
        predictions,
        probabilities_NC=predictions.unimodal_NMC[:, 0],
        draws_NKC=predictions.unimodal_draws_NMKC[:, 0],
        embedding_ND=predictions.modality_embedding_NMD[:, 0],
    )
    view = replace(view, predictions=alone, weights_M=np.ones(1))
    whole, one = (
        select_batch(name, view, 9, np.random.default_rng(0)) for name in (inner, f"unimodal:image:{inner}")
    )
    assert whole.sample_ids.tolist() == one.sample_ids.tolist()


def test_a_control_asks_last_for_samples_that_lack_its_modality_and_refuses_a_modality_that_is_not_there():
    view = make_view(30, 0, modalities=("image", "text"), missing=0.4)
    lacking = set(view.sample_ids[~view.present_NM[:, 0]])
    batch = select_batch("unimodal:image:margin", view, 30, np.random.default_rng(0))
    assert set(batch.sample_ids[-len(lacking) :]) == lacking
    with pytest.raises(UserError, match="no modality 'smell'"):
        select_batch("unimodal:smell:margin", view, 3, np.random.default_rng(0))
    with pytest.raises(UserError, match="Did you mean 'margin'"):
        select_batch("unimodal:image:margn", view, 3, np.random.default_rng(0))


def test_a_control_on_one_modality_reads_the_prices_of_its_own_samples():
    view = make_view(60, 6, missing=0.4)
    cheap_N = np.arange(60) % 3 == 0
    view = replace(view, price_N=np.where(cheap_N, 1.0, 1000.0))
    alone = take(view, np.flatnonzero(view.present_NM[:, 0]))
    n_cheap = int((cheap_N & view.present_NM[:, 0] & ~view.labeled_N).sum())
    batch = select_batch("unimodal:image:max_herding", view, n_cheap, np.random.default_rng(0))
    assert (view.price_N[np.searchsorted(view.sample_ids, batch.sample_ids)] == 1).all()
    assert len(alone.price_N) == len(alone.sample_ids) < 60


def test_a_control_on_one_modality_sees_what_evidential_heads_of_that_modality_state():
    view = make_view(40, 8, modalities=ONE_SOURCE)
    policy = start_policy("published", Action(), np.random.default_rng(0), {}, ())
    evidence_NMC = np.random.default_rng(1).gamma(0.5, 20.0, size=(40, 1, 4))
    predictions = view.predictions
    alone = replace(
        predictions,
        probabilities_NC=predictions.unimodal_NMC[:, 0],
        embedding_ND=predictions.modality_embedding_NMD[:, 0],
        evidence_NMC=evidence_NMC,
    )
    view = replace(view, predictions=alone, weights_M=np.ones(1), policy=policy.to_dict())
    whole, one = (
        select_batch(name, view, 9, np.random.default_rng(0))
        for name in ("rl_mba_published", "unimodal:image:rl_mba_published")
    )
    assert whole.sample_ids.tolist() == one.sample_ids.tolist()


@pytest.mark.parametrize("inner", ["bald", "batch_bald"])
def test_members_of_an_ensemble_that_a_round_does_not_keep_of_one_modality_are_said_to_be_missing(inner):
    view = make_view(40, 8)
    kept = replace(view.predictions, unimodal_draws_NMKC=view.predictions.unimodal_draws_NMKC[:, :, :0])
    with pytest.raises(UserError, match="'unimodal:image:margin'"):
        select_batch(f"unimodal:image:{inner}", replace(view, predictions=kept), 5, np.random.default_rng(0))
