"""docs/strategies.md says what the registry says."""

import importlib.util
from pathlib import Path

from rlmba_pipelines.learning.acquisition import get_strategy, strategy_names

ROOT = Path(__file__).resolve().parents[2]


def script():
    spec = importlib.util.spec_from_file_location("strategy_docs", ROOT / "scripts" / "strategy_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_page_is_what_the_registry_says_now():
    committed = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    assert committed == script().page(), "docs/strategies.md is not current: make docs"


def test_every_strategy_has_one_row_and_every_option_a_default_with_its_source():
    lines = script().page().splitlines()
    for name in strategy_names():
        strategy = get_strategy(name)
        rows = [line for line in lines if line.startswith(f"| `{name}` ")]
        assert len(rows) == 1 + len(strategy.options), name
        assert strategy.idea in rows[0]
        for option, default in strategy.options.items():
            assert any(f"| `{option}` | `{default!r}` |" in row for row in rows[1:]), (name, option)


def test_a_bar_in_a_formula_does_not_end_a_cell():
    assert script().cells("a|b", "c*") == r"| a\|b | c\* |"
