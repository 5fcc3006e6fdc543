"""Every registered strategy inherits these laws by being registered."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from rlmba_pipelines.learning.acquisition import get_strategy, select_batch, strategy_names
from rlmba_pipelines.learning.testing import SELECTOR_LAWS, STRATEGY_LAWS, make_view
from rlmba_pipelines.learning.types import UserError


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
