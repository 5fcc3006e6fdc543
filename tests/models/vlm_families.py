"""Questions, the tiny model untaught, and checkpoints of several families with random weights, some 70,000 each.

A checkpoint is written by ``save_pretrained`` with a processor and a subword tokenizer of its own kind, made here: no
network is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.vlm import scenes
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, checked_vlm
from rlmba_pipelines.models.vlm.base import freeze_vision
from rlmba_pipelines.models.vlm.tiny import tiny_vlm

TEXTS = [wording.format(a="red", b="blue", s="circle") for wordings in scenes.WORDINGS.values() for wording in wordings]
TEXT_MODEL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": False,
}

KINDS = ("shape", "left_of", "count", "exists", "same_shape", "side")


def questions(n: int, seed: int = 0) -> list[VisualQuestion]:
    """With answers, chains of one to several steps, and regions; sorted by id."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        scene = scenes.draw_scene(rng)
        asked = scenes.ask(KINDS[i % len(KINDS)], scene, rng)
        image = Image.fromarray(scenes.paint(scene))
        found.append(VisualQuestion(f"q{i:03d}", image, asked.text, asked.answer, asked.chain, asked.regions))
    return found


def tiny() -> Vlm:
    """The tiny model as it is drawn; it answers at random."""
    model, processor = tiny_vlm(scenes.words(), 0)
    model.set_attn_implementation("eager")  # as load_vlm loads it
    return freeze_vision(checked_vlm(Vlm(model.eval(), processor), "tiny"))


def weights(vlm: Vlm) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in vlm.model.named_parameters()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a[name], b[name]) for name in a)


def quick(**changes: Any) -> VlmConfig:
    """A few steps of training."""
    return VlmConfig(**{"min_steps": 6, "epochs": 0.01, "train_batch_size": 6, "learning_rate": 3e-3, **changes})


def _turns(before: str, image: str, after: str) -> str:
    return (
        "{% for message in messages %}" + before + "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}" + after + "{% endif %}"
    )


def _tokenizer(special: Sequence[str], *, pad: str, end: str, start: str | None = None, pieces: bool = False) -> Any:
    """Byte-level pairs as of GPT-2, or with ``pieces`` words that begin with ▁ as of Llama."""
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>" if pieces else None))
    alphabet: list[str] = []
    if pieces:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        backend.decoder = decoders.Metaspace(prepend_scheme="first")
        special = ["<unk>", *special]
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    corpus = [*TEXTS * 3, " ".join(scenes.words()), "shape red circle . column blue 2 so yes", "USER ASSISTANT : \n"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(corpus, trainer)
    if start:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, backend.token_to_id(start))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=pad, eos_token=end, bos_token=start, unk_token="<unk>" if pieces else None,
        additional_special_tokens=[word for word in special if word not in (pad, end, start, "<unk>")],
    )


def llava(folder: Path) -> None:
    """Images are cropped at their center, as LLaVA 1.5 does, and the text begins with a start token."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = _tokenizer(["<pad>", "<s>", "</s>", "<image>"], pad="<pad>", end="</s>", start="<s>", pieces=True)
    pixels = CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    processor = LlavaProcessor(
        image_processor=pixels, tokenizer=tokenizer, patch_size=12, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1,
        chat_template=_turns("USER: ", "<image>\n", " ASSISTANT:"),
    )
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=48, patch_size=12
    )
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    config = LlavaConfig(
        vision_config=vision, text_config=LlamaConfig(vocab_size=len(tokenizer), **TEXT_MODEL, **ids),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
    )
    _save(LlavaForConditionalGeneration, config, processor, folder)


def idefics3(folder: Path) -> None:
    """Its processor splits images unless it is told not to."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor, Idefics3Processor

    tokenizer, vision, text, pixels = _idefics_parts()
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(**pixels), tokenizer=tokenizer, image_seq_len=16,
        chat_template=_turns("User:", "<image>", "<end_of_utterance>\nAssistant:"),
    )
    config = Idefics3Config(
        vision_config=vision, text_config=text, scale_factor=2, pad_token_id=tokenizer.pad_token_id,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), tie_word_embeddings=False,
    )
    _save(Idefics3ForConditionalGeneration, config, processor, folder)


def smolvlm(folder: Path) -> None:
    """As idefics3, and it reads video; its processor needs the package num2words."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    tokenizer, vision, text, pixels = _idefics_parts()
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**pixels), tokenizer=tokenizer, image_seq_len=16,
        video_processor=SmolVLMVideoProcessor(size={"longest_edge": 96}, max_image_size={"longest_edge": 96}),
        chat_template=_turns("User:", "<image>", "<end_of_utterance>\nAssistant:"),
    )
    config = SmolVLMConfig(
        vision_config=vision, text_config=text, scale_factor=2, pad_token_id=tokenizer.pad_token_id,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), tie_word_embeddings=False,
    )
    _save(SmolVLMForConditionalGeneration, config, processor, folder)


def _idefics_parts() -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    special = ["<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"]
    special += ["<|im_start|>", "<|im_end|>", *(f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7))]
    tokenizer = _tokenizer(special, pad="<|im_end|>", end="<end_of_utterance>", start="<|im_start|>")
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 96, "patch_size": 12,
    }
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    text = {"model_type": "llama", "vocab_size": len(tokenizer), **TEXT_MODEL, **ids}
    return tokenizer, vision, text, {"size": {"longest_edge": 192}, "max_image_size": {"longest_edge": 96}}


def qwen2_5_vl(folder: Path) -> None:
    """Images keep their shape: as many tokens as they have blocks of 2 × 2 patches."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer = _tokenizer([*special, "<|image_pad|>", "<|video_pad|>"], pad="<|endoftext|>", end="<|im_end|>")
    limits = {"size": {"shortest_edge": 24 * 24, "longest_edge": 96 * 96}, "patch_size": 12, "merge_size": 2}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**limits), tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**limits),
        chat_template=_turns(
            "<|im_start|>user\n", "<|vision_start|><|image_pad|><|vision_end|>",
            "<|im_end|>\n<|im_start|>assistant\n",
        ),
    )
    at = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT_MODEL, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id, "bos_token_id": at("<|endoftext|>"),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "patch_size": 12, "spatial_merge_size": 2, "window_size": 48, "fullatt_block_indexes": [0],
        },
        image_token_id=at("<|image_pad|>"), video_token_id=at("<|video_pad|>"),
        vision_start_token_id=at("<|vision_start|>"), vision_end_token_id=at("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    _save(Qwen2_5_VLForConditionalGeneration, config, processor, folder)


def text_only(folder: Path) -> None:
    """A language model that sees nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(["<pad>", "<s>", "</s>"], pad="<pad>", end="</s>", start="<s>", pieces=True)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **TEXT_MODEL)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _save(kind: Any, config: Any, processor: Any, folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


FAMILIES = {"llava": llava, "idefics3": idefics3, "smolvlm": smolvlm, "qwen2_5_vl": qwen2_5_vl}
