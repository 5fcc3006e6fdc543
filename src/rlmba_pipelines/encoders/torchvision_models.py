"""Image and video networks of torchvision by name, without their last linear layer; a ResNet also over spectra.

``resnet101`` takes torchvision's own weights (fetched once, their sha256 checked); ``resnet101@weights.pth`` a state
dict of yours, whatever its number of classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.encoders.base import Encoder, Found
from rlmba_pipelines.encoders.nets import ClipNet, FrameEncoder, PixelNet, PixelPrep, SpectrumNet
from rlmba_pipelines.encoders.runtime import check_weights, precision, sha256_of
from rlmba_pipelines.learning.types import UserError


def find_torchvision(name: str, modality: str, config: EncodersConfig) -> Found:
    """A torchvision network; an image network under ``video`` reads frames, a ResNet under ``audio`` the log-STFT.

    Raises:
        UserError: no such network, none for this modality, or a state dict that is not there.
    """
    from torchvision import models

    network, _, own = name.partition("@")
    video_networks = models.list_models(module=models.video)
    image_networks = models.list_models(module=models)
    known = {
        "image": image_networks,
        "video": image_networks + video_networks,
        "audio": [name for name in image_networks if name.startswith("resnet")],
    }.get(modality, [])
    if network not in known:
        raise UserError(
            f"encoders.{modality}: torchvision has no {modality} network {network!r}; "
            f"it has for example {'r2plus1d_18' if modality == 'video' else 'resnet101'}."
        )
    is_clip_network = network in video_networks
    defaults = models.get_model_weights(network).DEFAULT
    preset = defaults.transforms()
    pixels = preset.crop_size[0]
    prep = PixelPrep(pixels, tuple(preset.mean), tuple(preset.std))
    # an MViT knows positions of exactly so many frames
    n_frames = defaults.meta["min_temporal_size"] if network.startswith("mvit") else config.video_frames
    how = {
        "image": f"{prep}", "video": f"{prep}-f{n_frames}", "audio": f"stft-s{config.audio_seconds:g}",
    }[modality]
    fingerprint = f"{network}-{_digest(own, defaults.url)}-{how}-{precision(config)}"

    def build() -> Encoder:
        model = _without_head(models, network, _state(own, defaults.url, network, modality))
        if is_clip_network:
            return ClipNet(model, prep, n_frames, fingerprint, config, pool=lambda x: x, channels_first=True)
        if modality == "audio":
            return SpectrumNet(model, fingerprint, config)
        image_encoder = PixelNet(model, prep, fingerprint, config, pool=lambda x: x)
        if modality == "image":
            return image_encoder
        return FrameEncoder(image_encoder, n_frames, fingerprint)

    return Found(modality, fingerprint, build)


def _digest(own: str, url: str) -> str:
    """First hexadecimal digits of the weights' sha256; torchvision writes 8 of them into the file name."""
    if not own:
        return url.rsplit("-", 1)[-1].removesuffix(".pth")
    if not Path(own).is_file():
        raise UserError(f"The state dict {own} is not there; correct the path after the @.")
    return sha256_of(Path(own))[:16]


def _state(own: str, url: str, network: str, modality: str) -> dict[str, Any]:
    import pickle

    import torch

    if own:
        try:
            return torch.load(own, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise UserError(f"{own} is not a plain state dict of tensors; save model.state_dict() again.") from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=_digest("", url), progress=False)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"encoders.{modality}: the weights of {network} could not be fetched ({type(error).__name__}); put "
                f"{path.name} into {path.parent}, or name a state dict of yours: torchvision:{network}@<path>."
            ) from error
    check_weights(path, _digest("", url))
    return torch.load(path, map_location="cpu", weights_only=True)


def _without_head(models: Any, network: str, state: dict[str, Any]) -> Any:
    """The network with ``state``, its last linear layer replaced by the identity."""
    import torch

    model = models.get_model(network, weights=None)
    head = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)][-1:]
    if not head:
        raise UserError(f"torchvision's {network} has no linear layer and is no encoder; name another network.")
    try:
        n_classes = len(state[f"{head[0]}.weight"])
        model = models.get_model(network, weights=None, num_classes=n_classes)
        model.load_state_dict(state)
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"The state dict does not fit {network}; name the network that it was saved from.") from error
    model.set_submodule(head[0], torch.nn.Identity())
    return model
