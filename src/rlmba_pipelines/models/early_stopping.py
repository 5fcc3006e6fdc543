"""Early stopping: of the weights met on the way, keep those that predict held-out labels best.

Concept  training longer than the labels bear makes predictions overconfident; a validation split shows when.
Source   Prechelt 1998 (Early stopping, but when?).
Stated   stop when the validation error rises, and go back to the weights before it did.
Chosen   the schedule of the learning rate runs to its end, since weights half-way through it are rarely the best and
         a fit takes a fraction of a second; about ``LOOKS`` times, and at the end, the NLL of the fused prediction is
         measured, and the first least one wins. Looking draws no random numbers, so the weights on the way are those of
         the plain fit. What is measured on the same samples afterwards is a little too good: one of ten was chosen on
         them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.metrics.classification import negative_log_likelihood
from rlmba_pipelines.learning.types import Features, Labels
from rlmba_pipelines.models.predict import subset_predictor
from rlmba_pipelines.models.state import FusionState

LOOKS = 10


class BestModel:
    """Remembers the model with the least validation NLL.

    Args:
        features: of at least the samples of ``validation``.
        validation: at least one label, in the classes of the model.
        config: of the prediction.
        steps: how many steps the training will take.
    """

    def __init__(self, features: Features, validation: Labels, config: FusionConfig, steps: int) -> None:
        self.features, self.y, self.config = features.take(validation.sample_ids), validation.y, config
        self.steps, self.every = steps, max(1, steps // LOOKS)
        self.nlls: list[float] = []
        self.best: FusionState | None = None
        self.best_step = 0

    def look(self, steps_done: int, state: Callable[[], FusionState]) -> None:
        """Measure, where it is time to."""
        if steps_done % self.every and steps_done != self.steps:
            return
        model = state()
        p_NC = subset_predictor(model, self.features, self.config)(frozenset(model.modalities))
        self.nlls.append(negative_log_likelihood(p_NC, self.y))
        if self.best is None or self.nlls[-1] < min(self.nlls[:-1]):
            self.best, self.best_step = model, steps_done

    def kept(self, log: Mapping[str, Any]) -> FusionState:
        """The best model, with ``validation_nll`` at every look and ``kept_step`` in its log."""
        if self.best is None:
            raise ValueError("BestModel: no look was taken")
        return replace(self.best, log={**log, "validation_nll": self.nlls, "kept_step": self.best_step})
