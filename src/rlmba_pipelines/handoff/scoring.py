"""Score raw media with a bundle alone: its encoders, its reduction, its network. No project, no Kedro session."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.datasets.arrays import read_arrays
from rlmba_pipelines.encoders import decoders, extract_features, find_encoder
from rlmba_pipelines.engines import map_shards
from rlmba_pipelines.handoff.environment import PACKAGE
from rlmba_pipelines.handoff.facts import Facts, read_facts, same_encoder
from rlmba_pipelines.learning.types import Features, UserError
from rlmba_pipelines.models.predict import predict_fusion
from rlmba_pipelines.models.reduce import Reduction
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.sources.check import check_media
from rlmba_pipelines.sources.manifest import MODALITIES, OPTIONAL, read_manifest
from rlmba_pipelines.sources.media import MediaRoot, folder_of_media, read_medium

log = logging.getLogger(__name__)
MODEL, REDUCTION = "model.safetensors", "reduction.safetensors"


@dataclass(frozen=True)
class Scores:
    """What a model says of samples.

    Attributes:
        table: ``sample_id``, ``label`` and ``probability`` of the likeliest class, ``probability_<class>`` for each;
            sorted by sample id.
        set_aside: media that could not be read: ``sample_id``, ``row``, ``modality``, ``ref``, ``reason``, ``dropped``.
    """

    table: pd.DataFrame
    set_aside: pd.DataFrame


def score(
    folder: Path,
    manifest: Path,
    *,
    media_root: Path | None = None,
    max_bad_share: float = 0.0,
    device: str = "auto",
    workers: int = 1,
    progress: bool = True,
) -> Scores:
    """Class probabilities of every sample of a manifest.

    Args:
        folder: the bundle, whole.
        manifest: ``sample_id`` and the modalities of the model, each of which may be missing; what else a
            manifest says of samples (``label``, ``split``, …) is not looked at.
        media_root: where the media lie; None: beside the manifest.
        max_bad_share: of samples with media that cannot be read.

    Raises:
        UserError: the bundle is of another version, an encoder is not here, or the manifest or its media are no good.
    """
    facts = read_facts(folder, version(PACKAGE))
    state = FusionState.unpack(read_arrays(folder / MODEL))
    reduction = Reduction.unpack(read_arrays(folder / REDUCTION))
    encoders = facts.located(folder).model_copy(update={"device": device, "workers": workers})
    table = _rows_of(manifest, facts)
    _check_encoders(facts, encoders, [m for m in facts.modalities if (table[m] != "").any()])
    root = MediaRoot(folder_of_media(manifest, str(media_root or "")))
    samples, set_aside = check_media(
        table, root, decoders(encoders, facts.caps), caps=facts.caps, max_bad_share=max_bad_share, progress=progress,
        workers=workers, map_shards=map_shards,
    )
    with tempfile.TemporaryDirectory(prefix="rlmba-features-") as cache:
        encoded = extract_features(
            samples, partial(read_medium, root, facts.caps.max_bytes), encoders, cache, facts.caps, facts.modalities,
            map_shards=map_shards, progress=progress,
        )
        fusion = facts.fusion.model_copy(update={"device": device})
        predictions = predict_fusion(state, reduction.apply(_widened(encoded, reduction)), fusion)
    return Scores(_as_table(predictions.sample_ids, predictions.probabilities_NC, facts.classes), set_aside)


def _rows_of(manifest: Path, facts: Facts) -> pd.DataFrame:
    table = read_manifest(manifest, ignored=(*OPTIONAL, "explanation"))
    have = [name for name in MODALITIES if name in table]
    unknown = [name for name in have if name not in facts.modalities]
    if unknown:
        raise UserError(
            f"{manifest.name}: the model has never seen {unknown[0]!r}, it knows {', '.join(facts.modalities)}; remove "
            "the column."
        )
    table_name = table.attrs["name"]
    table = table.assign(**{name: "" for name in facts.modalities if name not in have})
    table.attrs["name"] = table_name
    return table


def _check_encoders(facts: Facts, encoders: EncodersConfig, modalities: Sequence[str]) -> None:
    """Refuse other encoders than those that the model learned from; half precision in place of single is told."""
    for name in modalities:
        here, then = find_encoder(getattr(encoders, name), name, encoders).fingerprint, facts.fingerprints[name]
        if not same_encoder(here, then):
            raise UserError(
                f"The model learned {name} from {then}, and the encoder here is {here}; install the versions of "
                "constraints.txt in the bundle."
            )
        if here != then:
            log.warning("%s: %s here, %s then; probabilities differ in their third digit", name, here, then)


def _widened(encoded: Features, reduction: Reduction) -> Features:
    """The same, where a modality that no sample has is as wide as the encoder makes it."""
    blocks = {
        name: block if (wide := len(reduction.turns[name].center_D)) == block.shape[1] else np.zeros((len(block), wide))
        for name, block in encoded.blocks.items()
    }
    return Features(encoded.sample_ids, blocks, encoded.present_NM, encoded.fingerprints)


def _as_table(sample_ids: np.ndarray, probabilities_NC: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    best_N = probabilities_NC.argmax(axis=1)
    columns = {f"probability_{name}": probabilities_NC[:, c] for c, name in enumerate(classes)}
    return pd.DataFrame(
        {
            "sample_id": [str(name) for name in sample_ids],
            "label": [classes[c] for c in best_N],
            "probability": probabilities_NC.max(axis=1),
            **columns,
        }
    )
