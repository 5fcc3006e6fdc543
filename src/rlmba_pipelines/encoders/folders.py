"""Encoders of transformers from a folder on disk or from the hub, through the Auto classes.

image  ViT, DINOv2, CLIP, SigLIP, ConvNeXt, …     text   BERT and its kin, CLIP, SigLIP
audio  wav2vec2, HuBERT, WavLM, Whisper, AST, CLAP      video  VideoMAE and its kin; an image model reads frames
Only safetensors are loaded, and no code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.encoders.base import Encoder, Found
from rlmba_pipelines.encoders.nets import ClipNet, FrameEncoder, PixelNet, PixelPrep, TokenNet, masked_mean
from rlmba_pipelines.encoders.runtime import precision, sha256_of
from rlmba_pipelines.encoders.waves import WaveNet
from rlmba_pipelines.learning.types import UserError

FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
TOWERS = {"image": "vision_model", "text": "text_model", "audio": "audio_model"}
INPUTS = {
    "image": ("pixel_values",),
    "video": ("pixel_values", "pixel_values_videos"),
    "text": ("input_ids",),
    "audio": ("input_values", "input_features"),
}
FIRST_TOKEN = ("vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit_msn")


def find_on_hub(name: str, modality: str, config: EncodersConfig) -> Found:
    """A model of the hub, ``name`` or ``name@revision``, from the local copy where there is a whole one.

    Raises:
        UserError: it is not here, or not whole, and the hub cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    repo, _, revision = name.partition("@")
    fetch = partial(
        huggingface_hub.snapshot_download, repo, revision=revision or None, allow_patterns=list(FILES)
    )
    try:
        try:
            folder = fetch(local_files_only=True)
            lacks_weights = not _holds_weights(Path(folder))  # a killed download, or a tokenizer fetched alone
        except OSError:
            lacks_weights = True
        if lacks_weights:
            folder = fetch()
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise UserError(
            f"encoders.{modality}: {name} is not on this machine and could not be fetched from the hub "
            f"({type(error).__name__}); check the name and the network, or copy the model's folder here and name it "
            f"as path:<folder>."
        ) from error
    if not _holds_weights(Path(folder)):
        raise UserError(
            f"encoders.{modality}: the copy of {name} on this machine is not whole and the hub gave no .safetensors "
            f"for it; go on where there is a network, or name a model that has them (pickled weights are never loaded)."
        )
    return find_in_folder(folder, modality, config)


def _holds_weights(folder: Path) -> bool:
    """Whether the configuration and all files of weights are there, also where an index names several."""
    indexed = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.safetensors.index.json")]
    named = {folder / name for index in indexed for name in index["weight_map"].values()}
    found = set(folder.glob("*.safetensors"))
    return (folder / "config.json").is_file() and bool(found) and named <= found


def find_in_folder(folder: str | Path, modality: str, config: EncodersConfig) -> Found:
    """A model that ``save_pretrained`` wrote, with its processor or tokenizer beside it.

    Raises:
        UserError: the folder is not there, or holds no safetensors.
    """
    folder = Path(folder)
    where = f"encoders.{modality}: the folder {folder}"
    if not (folder / "config.json").is_file():
        raise UserError(f"{where} holds no config.json; name the folder that save_pretrained wrote.")
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"{where} holds no .safetensors; save the model again (pickled weights are never loaded).")
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = str(settings["model_type"])
    except (ValueError, KeyError) as error:
        raise UserError(f"{where} has a config.json that names no model_type; save the model again.") from error
    how = {
        "image": "",
        "text": "",
        "audio": f"-s{config.audio_seconds:g}",
        "video": f"-f{settings.get('num_frames', config.video_frames)}",
    }[modality]
    fingerprint = f"{model_type}-{_digest(folder)}{how}-{precision(config)}"
    return Found(modality, fingerprint, partial(_build, folder, model_type, modality, fingerprint, config))


def _digest(folder: Path) -> str:
    """First 16 hexadecimal digits of a sha256 over all files that decide the features."""
    names = sorted(path for pattern in FILES for path in folder.glob(pattern))
    lines = [f"{path.name} {sha256_of(path)}" for path in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _build(folder: Path, model_type: str, modality: str, fingerprint: str, config: EncodersConfig) -> Encoder:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"encoders.{modality}: the model in {folder} cannot be loaded ({error}).") from error
    if modality == "audio" and model_type == "whisper":
        tower = model.get_encoder()
    else:
        tower = getattr(model, TOWERS.get(modality, "vision_model"), model)
    if tower.main_input_name not in INPUTS[modality]:
        raise UserError(
            f"encoders.{modality}: {model_type} reads {tower.main_input_name} and is no encoder of {modality}; "
            f"name another model."
        )
    makers: dict[str, Callable[..., Encoder]] = {
        "image": _image, "text": _text, "audio": WaveNet, "video": _video,
    }
    return makers[modality](tower, folder, model_type, fingerprint, config)


def _image(tower: Any, folder: Path, model_type: str, fingerprint: str, config: EncodersConfig) -> Encoder:
    return PixelNet(tower, _pixel_prep(tower, folder), fingerprint, config, pool=partial(pool_pixels, model_type))


def _video(tower: Any, folder: Path, model_type: str, fingerprint: str, config: EncodersConfig) -> Encoder:
    n_frames = getattr(tower.config, "num_frames", None)
    if not isinstance(n_frames, int):
        image_encoder = _image(tower, folder, model_type, fingerprint, config)
        return FrameEncoder(image_encoder, config.video_frames, fingerprint)
    pool = partial(pool_pixels, model_type)
    prep = _pixel_prep(tower, folder)
    return ClipNet(tower, prep, n_frames, fingerprint, config, pool=pool, channels_first=False)


def pool_pixels(model_type: str, output: Any) -> Any:
    """[B, D] of a vision tower: its own pooling where it was trained, the class token of a ViT, else the mean."""
    hidden = output.last_hidden_state
    if hidden.ndim == 4:  # feature maps [B, D, H, W]
        return hidden.mean(dim=(2, 3))
    if model_type.startswith(("clip", "siglip")):
        return output.pooler_output
    return hidden[:, 0] if model_type in FIRST_TOKEN else hidden.mean(dim=1)


def _pixel_prep(tower: Any, folder: Path) -> PixelPrep:
    """Size, mean and spread of the pixels as the model's own image processor says."""
    path = folder / "preprocessor_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        mean, std = tuple(settings["image_mean"]), tuple(settings["image_std"])
        size = settings["crop_size"] if settings.get("do_center_crop") else settings["size"]
        pixels = int(size if isinstance(size, int) else size.get("height") or size["shortest_edge"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} holds no preprocessor_config.json with image_mean, image_std and size; "
            f"save the model's image processor beside it."
        ) from error
    own = getattr(tower.config, "image_size", None)  # where positions are learned, no other size fits
    return PixelPrep(own if isinstance(own, int) else pixels, mean, std)


def _text(tower: Any, folder: Path, model_type: str, fingerprint: str, config: EncodersConfig) -> Encoder:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no tokenizer; save the model's tokenizer beside it.") from error
    longest = min(int(tokenizer.model_max_length), int(getattr(tower.config, "max_position_embeddings", 512)), 512)
    if model_type.startswith("roberta") or model_type in ("xlm-roberta", "camembert"):
        longest -= 2  # their positions start after the padding's
    two_towers = model_type.startswith(("clip", "siglip"))

    def tokenize(text: str) -> list[int]:
        return tokenizer(text, truncation=True, max_length=longest)["input_ids"]

    def pool(output: Any, mask: Any) -> Any:
        return output.pooler_output if two_towers else masked_mean(output.last_hidden_state, mask)

    fixed = longest if model_type.startswith("siglip") else 0  # trained on full length only
    return TokenNet(tower, tokenize, tokenizer.pad_token_id or 0, fingerprint, config, pool, longest, fixed)
