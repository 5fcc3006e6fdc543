"""Every registered strategy inherits these laws by being registered."""

from functools import partial

import pytest

from rlmba_pipelines.learning.acquisition import get_strategy, select_batch, strategy_names
from rlmba_pipelines.learning.testing import SELECTOR_LAWS, STRATEGY_LAWS


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
