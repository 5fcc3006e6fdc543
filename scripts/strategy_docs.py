"""``make docs``: docs/strategies.md, written from the registry, so that it cannot say anything else than the code."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

from rlmba_pipelines.learning.acquisition import Strategy, get_strategy, strategy_names
from rlmba_pipelines.learning.door import ARGUMENTS, select

TARGET = Path(__file__).resolve().parents[1] / "docs" / "strategies.md"

HEAD = """# Strategies

Written by `make docs` from the registry; do not edit. {count} strategies, called the same way from the pipelines
(`kedro rounds run --strategy NAME`) and, without them, from arrays:

```python
import rlmba_pipelines
batch = rlmba_pipelines.select(NAME, features=…, probabilities=…, labeled_ids=…, query_size=…, rng=…)
batch.sample_ids, batch.utility_Q, batch.reasons
```

No Kedro is loaded by that, and tensors are taken as they are. `python -c "import rlmba_pipelines;
help(rlmba_pipelines.select)"` names every argument. Within a loop of scikit-activeml use
`rlmba_pipelines.learning.skactiveml_adapter.PoolStrategy(NAME)`.

## Three examples

They are tests of the project.

{examples}

## One row a strategy

N samples, L labeled, C classes, K draws, Q picks, D feature dimensions, M modalities. *Needs* names arguments of
`select` besides `features`; on data of one modality its predictions are those of the fusion and need not be passed
again. The generator has a say in those with a star.
"""

CONTROLS = """## One modality only: `unimodal:<modality>:<strategy>`

Every strategy is also a control that sees one modality and nothing of the others: `unimodal:image:margin`,
`unimodal:text:badge`. Predictions, draws and embedding are then those of that modality's own head
(`unimodal_probabilities`), features and weights its own; samples that lack the modality are chosen last, in the order
of their ids. On data of one modality the control is the strategy itself. Whoever claims that several modalities help
should beat the best of these.
"""

OPTIONS = """## Options

Passed as `options={{"name": value}}`, in the pipelines as `rounds.strategy_options`.

| strategy | option | default | where the default comes from |
|---|---|---|---|
{rows}
"""


def page() -> str:
    """The whole document."""
    strategies = [get_strategy(name) for name in strategy_names()]
    table = ["| strategy | idea | formula | when | cost | needs | reference |", "|---|---|---|---|---|---|---|"]
    table += [row_of(strategy) for strategy in strategies]
    head = HEAD.format(count=len(strategies), examples=examples())
    options = OPTIONS.format(rows="\n".join(row for strategy in strategies for row in option_rows(strategy)))
    return "\n".join([head, *table, "", CONTROLS, options]).rstrip() + "\n"


def row_of(strategy: Strategy) -> str:
    """One line of the table; a star says that the generator decides too."""
    name = f"`{strategy.name}`" + ("" if strategy.deterministic else " *")
    facts = (strategy.idea, strategy.formula, strategy.when, strategy.cost, needs(strategy), strategy.reference)
    return cells(name, *facts)


def needs(strategy: Strategy) -> str:
    """Arguments that have to be passed."""
    arguments = [ARGUMENTS[part].split("=")[0] for part in strategy.requires if part in ARGUMENTS]
    return ", ".join(f"`{argument}`" for argument in dict.fromkeys(arguments)) or "–"


def option_rows(strategy: Strategy) -> list[str]:
    """One line an option."""
    return [
        cells(f"`{strategy.name}`", f"`{option}`", f"`{default!r}`", strategy.options_from[option])
        for option, default in strategy.options.items()
    ]


def cells(*texts: str) -> str:
    """A line of a table; what would end a cell is escaped."""
    return "| " + " | ".join(re.sub(r"([|*])", r"\\\1", " ".join(text.split())) for text in texts) + " |"


def examples() -> str:
    """The examples of ``select``, each under the sentence that leads to it."""
    parts = doctest.DocTestParser().parse(inspect.cleandoc(select.__doc__ or ""))
    out, code = list[str](), list[str]()
    for part in [*parts, "\n\nend:"]:
        if isinstance(part, doctest.Example):
            lines = part.source.rstrip().split("\n")
            if not (out[1:] or code):
                code.append(">>> from rlmba_pipelines import select")
            code += [f">>> {lines[0]}", *(f"... {line}" for line in lines[1:])]
            code += part.want.rstrip().split("\n") if part.want else []
        elif part.strip():
            if code:
                out.append("```python\n" + "\n".join(code) + "\n```")
            code = []
            out.append(part.strip().split("\n\n")[-1])
    return "\n\n".join(out[:-1])


def main() -> None:
    TARGET.write_text(page(), encoding="utf-8")
    print(f"wrote {TARGET.name}: {len(strategy_names())} strategies")


if __name__ == "__main__":
    main()
