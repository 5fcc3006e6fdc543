"""The one door to every acquisition strategy: called the same way, and shown no more than it asked for."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from rlmba_pipelines.learning.acquisition.one_modality import one_modality
from rlmba_pipelines.learning.evidence import MODALITY_TERMS
from rlmba_pipelines.learning.types import UNLABELED, PoolView, Predictions, Selection, UserError

PROBABILITY_TOLERANCE = 1e-3  # of the sum of a row: float16 predictions pass, logits do not

VIEW_FIELDS = {
    "features": "features",
    "predictions": "predictions",
    "embedding": "predictions",
    "draws": "predictions",
    "unimodal": "predictions",
    "terms": "terms",
    "y": "y",
    "arms": "arm_N",
    "weights": "weights_M",
    "action": "action",
    "policy": "policy",
    "prices": "price_N",
}
"""What a strategy may require -> the field of the view that holds it; ids, modalities and presence are always there.

``embedding`` asks for the fused embedding alone, ``draws`` for predictions of at least two ensemble members,
``unimodal`` for those of every single modality.
"""

UNIMODAL = "unimodal"  # unimodal:<modality>:<strategy> sees one modality only: a control

StrategyFunction = TypeVar("StrategyFunction", bound=Callable[..., Selection])


@dataclass(frozen=True)
class Strategy:
    """A registered strategy and its row of the documentation.

    Attributes:
        function: ``(view, query_size, rng, *, **options) -> Selection``.
        requires: parts of the view it is given, keys of ``VIEW_FIELDS``.
        idea: one sentence.
        formula: utility or objective, in plain text.
        when: one sentence on when to use it, and when not.
        options_from: option -> where its default comes from.
        cost: order of the arithmetic for N samples, L labeled, C classes, K draws, Q picks, D feature dimensions.
        optional: parts of the view it is given where they are there, keys of ``VIEW_FIELDS``.
        deterministic: the generator is never asked.
        pointwise: a sample's utility does not depend on which other candidates there are.
    """

    name: str
    function: Callable[..., Selection]
    requires: tuple[str, ...]
    cost: str
    reference: str
    idea: str
    formula: str
    when: str
    options_from: Mapping[str, str]
    deterministic: bool
    pointwise: bool
    optional: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """Option -> default: the keyword-only parameters of the function."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


_STRATEGIES: dict[str, Strategy] = {}


def register(
    name: str,
    *,
    requires: tuple[str, ...],
    cost: str,
    reference: str,
    idea: str,
    formula: str,
    when: str,
    deterministic: bool,
    pointwise: bool = False,
    options_from: Mapping[str, str] | None = None,
    optional: tuple[str, ...] = (),
) -> Callable[[StrategyFunction], StrategyFunction]:
    """Make a function known as strategy ``name``; the fields are those of :class:`Strategy`.

    Raises:
        ValueError: the name is taken, or something is required that no view holds.
    """
    unknown = sorted({*requires, *optional} - set(VIEW_FIELDS))
    if unknown:
        raise ValueError(f"strategy {name!r} requires {unknown}; a view can offer {sorted(VIEW_FIELDS)}")
    if name in _STRATEGIES:
        raise ValueError(f"strategy {name!r} is registered twice")

    def keep(function: StrategyFunction) -> StrategyFunction:
        strategy = Strategy(
            name=name,
            function=function,
            requires=tuple(requires),
            cost=cost,
            reference=reference,
            idea=idea,
            formula=formula,
            when=when,
            options_from=dict(options_from or {}),
            deterministic=deterministic,
            pointwise=pointwise,
            optional=tuple(optional),
        )
        if set(strategy.options_from) != set(strategy.options):
            raise ValueError(f"strategy {name!r} must say in options_from where each of its options comes from")
        _STRATEGIES[name] = strategy
        return function

    return keep


def strategy_names() -> tuple[str, ...]:
    """Every registered name, in alphabetical order."""
    return tuple(sorted(_STRATEGIES))


def get_strategy(name: str) -> Strategy:
    """The strategy of that name; ``unimodal:<modality>:<strategy>`` is that strategy with one modality to look at.

    Raises:
        UserError: there is none; the nearest name and the list are given.
    """
    if name in _STRATEGIES:
        return _STRATEGIES[name]
    if str(name).startswith(f"{UNIMODAL}:") and str(name).count(":") == 2:
        _, modality, inner = str(name).split(":")
        return _unimodal(name, modality, get_strategy(inner))
    near = difflib.get_close_matches(str(name), strategy_names(), n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(f"There is no strategy {name!r}.{hint} Choose one of: {', '.join(strategy_names())}.")


def select_batch(
    name: str,
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    options: Mapping[str, Any] | None = None,
) -> Selection:
    """Let a strategy choose ``Q = min(query_size, candidates)`` samples; it sees only what it declared.

    Raises:
        UserError: unknown strategy or option, ``query_size`` below 1, or the view lacks what the strategy requires.
        ValueError: parts of the view do not belong together, or the strategy broke its contract.
    """
    strategy = check_options(name, options or {})
    if isinstance(query_size, bool) or not isinstance(query_size, int | np.integer) or query_size < 1:
        raise UserError(f"query_size must be a whole number of at least 1, got {query_size!r}.")
    _check_view(view)
    n_candidates = len(view.candidate_rows)
    if n_candidates == 0:
        return Selection(view.sample_ids[:0], np.zeros(0))
    q = min(int(query_size), n_candidates)
    selection = strategy.function(_only_required(strategy, view), q, rng, **(options or {}))
    _check_selection(strategy, view, selection, q)
    return selection


def check_options(name: str, options: Mapping[str, Any]) -> Strategy:
    """The strategy ``name``, which takes every one of ``options``.

    Raises:
        UserError: unknown strategy or option.
    """
    strategy = get_strategy(name)
    known = sorted(strategy.options)
    for key in options:
        if key not in known:
            raise UserError(
                f"Strategy {strategy.name!r} has no option {key!r}; "
                + (f"it knows: {', '.join(known)}." if known else "it takes no options.")
            )
    return strategy


def _unimodal(name: str, modality: str, inner: Strategy) -> Strategy:
    """``inner``, shown one modality only; samples that lack it are chosen last, in the order of their ids."""

    def function(view: PoolView, query_size: int, rng: np.random.Generator, **options: Any) -> Selection:
        seen = one_modality(view, modality)
        if "draws" in inner.requires and seen.predictions is not None and seen.predictions.draws_NKC.shape[1] < 2:
            raise UserError(
                f"Strategy {inner.name!r} compares the members of an ensemble, of which a round keeps what they say by "
                f"all modalities alone; choose another strategy than {name!r}, such as 'unimodal:{modality}:margin'."
            )
        n_seen = min(query_size, len(seen.candidate_rows))
        batch = inner.function(_only_required(inner, seen), n_seen, rng, **options) if n_seen else None
        if batch is not None:  # a term of the modality, not of the fusion
            reasons = {f"{k}_{modality}" if k in MODALITY_TERMS else k: v for k, v in batch.reasons.items()}
            batch = replace(batch, reasons=reasons)
        rest_ids = np.setdiff1d(view.sample_ids[view.candidate_rows], seen.sample_ids)[: query_size - n_seen]
        lacking = Selection(rest_ids, np.zeros(len(rest_ids)))
        if batch is None or not len(lacking):
            return batch or lacking
        reasons = {name: np.concatenate([column, np.zeros(len(rest_ids))]) for name, column in batch.reasons.items()}
        ids, utility = (np.concatenate(both) for both in zip(_ids_utility(batch), _ids_utility(lacking), strict=True))
        return Selection(ids, utility, reasons)

    functools.update_wrapper(function, inner.function)
    of_model = ("predictions", "embedding")
    requires = tuple(dict.fromkeys("unimodal" if part in of_model else part for part in inner.requires))
    return replace(inner, name=name, function=function, requires=requires)


def _ids_utility(batch: Selection) -> tuple[np.ndarray, np.ndarray]:
    return batch.sample_ids, batch.utility_Q


def _check_view(view: PoolView) -> None:
    n_samples = len(view.sample_ids)
    for array in (view.y, view.arm_N):
        if array is not None and (array[~view.labeled_N] != UNLABELED).any():
            raise ValueError("PoolView: a label of an unlabeled sample is in the view")
    for name in ("predictions", "terms"):
        part = getattr(view, name)
        if part is not None and not np.array_equal(part.sample_ids, view.sample_ids):
            raise ValueError(f"PoolView: {name} are not of the same samples, in the same order, as the view")
    if view.predictions is not None:
        _check_predictions(view.predictions, view.modalities)
    if view.present_NM is not None and view.present_NM.shape != (n_samples, len(view.modalities)):
        raise ValueError(f"PoolView: present_NM has shape {view.present_NM.shape}")
    for modality, block in (view.features or {}).items():
        if len(block) != n_samples:
            raise ValueError(f"PoolView: features of {modality!r} have {len(block)} rows for {n_samples} samples")


def _check_predictions(predictions: Predictions, modalities: tuple[str, ...]) -> None:
    if predictions.modalities != modalities:
        raise ValueError(f"PoolView: predictions are of {predictions.modalities}, the view of {modalities}")
    probabilities_NC = predictions.probabilities_NC
    if probabilities_NC.shape[1] < 2:
        raise UserError("The model knows fewer than two classes: label samples of another class, or raise start_size.")
    if len(probabilities_NC) and np.abs(probabilities_NC.sum(axis=1) - 1).max() > PROBABILITY_TOLERANCE:
        worst = predictions.sample_ids[np.abs(probabilities_NC.sum(axis=1) - 1).argmax()]
        raise UserError(f"Probabilities of sample {worst!r} do not sum to 1: pass probabilities, not logits.")


def _only_required(strategy: Strategy, view: PoolView) -> PoolView:
    missing = [part for part in strategy.requires if getattr(view, VIEW_FIELDS[part]) is None]
    if missing:
        raise UserError(
            f"Strategy {strategy.name!r} needs {' and '.join(missing)}, which this round does not have; "
            "before there is a model use 'coverage' or 'random'."
        )
    predictions = view.predictions
    if "draws" in strategy.requires and predictions is not None and predictions.draws_NKC.shape[1] < 2:
        raise UserError(
            f"Strategy {strategy.name!r} compares the members of an ensemble and needs at least two; raise "
            "fusion.n_heads, or pass draws."
        )
    n_modalities = len(view.modalities)
    if "unimodal" in strategy.requires and predictions is not None and predictions.unimodal_NMC.shape[1] < n_modalities:
        raise UserError(f"Strategy {strategy.name!r} needs the predictions of every single modality.")
    shown = {VIEW_FIELDS[part] for part in (*strategy.requires, *strategy.optional)}
    hidden: dict[str, Any] = {field: None for field in VIEW_FIELDS.values() if field not in shown}
    return replace(view, **hidden)


def _check_selection(strategy: Strategy, view: PoolView, selection: Selection, q: int) -> None:
    strangers_Q = ~view.are_candidates(selection.sample_ids)
    if len(selection) != q or strangers_Q.any():
        raise ValueError(
            f"strategy {strategy.name!r} broke its contract: it returned {len(selection)} samples "
            f"({int(strangers_Q.sum())} of them no candidates) where {q} were asked"
        )
