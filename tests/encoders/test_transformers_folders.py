"""Models of transformers load from a folder by name; tiny random ones stand in for the real."""

import numpy as np
import pytest
import torch
import transformers as tr
from numpy.testing import assert_allclose, assert_array_equal
from sample_media import CPU, picture, tone

from rlmba_pipelines.encoders import find_encoder, load_encoder
from rlmba_pipelines.learning.types import UserError

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
PIXELS = {"image_size": 32, "patch_size": 16}
WHISPER = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
           "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 10,
           "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
WAV2VEC2 = {**SMALL, "conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (8, 40), "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}


def bert_tokenizer(longest=64):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "car", "dog"]
    return tr.BertTokenizer(vocab={word: i for i, word in enumerate(words)}, model_max_length=longest)


def clip_config(cls, **vision):
    text = {**SMALL, "vocab_size": 20, "max_position_embeddings": 64, "projection_dim": 8, "eos_token_id": 3}
    return cls(text_config=text, vision_config={**SMALL, **PIXELS, **vision})


MODELS = {
    "vit": ("image", lambda: tr.ViTModel(tr.ViTConfig(**SMALL, **PIXELS)), tr.ViTImageProcessor),
    "clip": ("image", lambda: tr.CLIPModel(clip_config(tr.CLIPConfig)), tr.CLIPImageProcessor),
    "siglip": ("image", lambda: tr.SiglipModel(clip_config(tr.SiglipConfig)), tr.SiglipImageProcessor),
    "convnext": ("image", lambda: tr.ConvNextModel(tr.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1] * 4)),
                 tr.ConvNextImageProcessor),
    "bert": ("text", lambda: tr.BertModel(tr.BertConfig(**SMALL, vocab_size=20)), bert_tokenizer),
    "clip text": ("text", lambda: tr.CLIPModel(clip_config(tr.CLIPConfig)), bert_tokenizer),
    "wav2vec2": ("audio", lambda: tr.Wav2Vec2Model(tr.Wav2Vec2Config(**WAV2VEC2)), tr.Wav2Vec2FeatureExtractor),
    "whisper": ("audio", lambda: tr.WhisperModel(tr.WhisperConfig(**WHISPER)), tr.WhisperFeatureExtractor),
    "ast": ("audio", lambda: tr.ASTModel(tr.ASTConfig(**SMALL, max_length=128)),
            lambda: tr.ASTFeatureExtractor(max_length=128)),
    "videomae": ("video", lambda: tr.VideoMAEModel(tr.VideoMAEConfig(**SMALL, **PIXELS, num_frames=4)),
                 tr.VideoMAEImageProcessor),
}
ITEMS = {
    "image": [picture(i, size=(40, 30 + i)) for i in range(3)],
    "text": ["a red car", "dog", "a dog a dog a dog a dog"],
    "audio": [tone(0.3), tone(0.9, hz=900), tone(0.4, hz=2000)],
    "video": [([picture(i), picture(i + 1)], None) for i in range(3)],
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """name -> folder, each written once by ``save_pretrained``."""
    torch.manual_seed(0)
    folders = {}

    def save(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("model")
            _, make_model, make_processor = MODELS[name]
            make_model().save_pretrained(folders[name])
            make_processor().save_pretrained(folders[name])
        return folders[name]

    return save


@pytest.mark.parametrize("name", MODELS)
def test_a_model_on_disk_is_an_encoder_whose_rows_do_not_depend_on_their_neighbors(saved, name):
    modality = MODELS[name][0]
    encoder = load_encoder(f"path:{saved(name)}", modality, CPU)
    rows = encoder.encode(ITEMS[modality])
    assert rows.shape == (3, 32) == (3, encoder.dim)
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows[0] - rows[1]) > 0
    assert_array_equal(encoder.encode(ITEMS[modality][::-1])[::-1], rows)
    assert_array_equal(encoder.encode(ITEMS[modality][1:2]), rows[1:2])
    assert encoder.fingerprint == find_encoder(f"path:{saved(name)}", modality, CPU).fingerprint


def test_bert_is_averaged_over_its_tokens(saved):
    folder = saved("bert")
    model, tokenizer = tr.BertModel.from_pretrained(folder).eval(), tr.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        tokens = model(**tokenizer("a red car", return_tensors="pt")).last_hidden_state[0]
    assert_allclose(load_encoder(f"path:{folder}", "text", CPU).encode(["a red car"])[0], tokens.mean(0), atol=1e-5)


@pytest.mark.parametrize("n_words", [63, 75, 200])
def test_a_text_may_be_as_long_as_clip_has_positions_and_is_cut_there(tmp_path, n_words):
    text = {**SMALL, "vocab_size": 20, "max_position_embeddings": 77, "eos_token_id": 3}
    tr.CLIPTextModel(tr.CLIPTextConfig(**text)).save_pretrained(tmp_path)
    bert_tokenizer(77).save_pretrained(tmp_path)
    encoder = load_encoder(f"path:{tmp_path}", "text", CPU)
    long, cut = encoder.encode(["dog " * n_words, "dog " * min(n_words, 75)])
    assert_array_equal(long, cut)


def test_a_vit_sees_what_its_own_processor_shows_it(saved):
    folder = saved("vit")
    image = picture(1, size=(32, 32))
    pixels = tr.ViTImageProcessor.from_pretrained(folder, size={"height": 32, "width": 32})(image, return_tensors="pt")
    with torch.inference_mode():
        token = tr.ViTModel.from_pretrained(folder).eval()(**pixels).last_hidden_state[:, 0]
    assert_allclose(load_encoder(f"path:{folder}", "image", CPU).encode([image]), token, atol=1e-4)


def test_an_image_model_under_video_reads_frames(saved):
    assert load_encoder(f"path:{saved('vit')}", "video", CPU).encode(ITEMS["video"]).shape == (3, 64)


def test_a_model_of_another_modality_is_refused(saved):
    with pytest.raises(UserError, match="bert reads input_ids and is no encoder of image"):
        load_encoder(f"path:{saved('bert')}", "image", CPU)


def test_pickled_weights_are_never_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"hostile")
    with pytest.raises(UserError, match=r"holds no \.safetensors"):
        load_encoder(f"path:{tmp_path}", "text", CPU)


def test_a_model_without_its_processor_is_refused(tmp_path):
    MODELS["vit"][1]().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"no preprocessor_config\.json"):
        load_encoder(f"path:{tmp_path}", "image", CPU)


def test_other_weights_give_another_fingerprint(saved, tmp_path):
    torch.manual_seed(1)
    MODELS["bert"][1]().save_pretrained(tmp_path)
    bert_tokenizer().save_pretrained(tmp_path)
    fingerprints = {find_encoder(f"path:{folder}", "text", CPU).fingerprint for folder in (tmp_path, saved("bert"))}
    assert len(fingerprints) == 2
    assert all(f.startswith("bert-") and f.endswith("-float32") for f in fingerprints)


def test_the_hub_is_asked_only_for_what_is_not_here_and_its_absence_is_explained(monkeypatch, saved):
    import huggingface_hub

    asked = []

    def snapshot(name, *, local_files_only=False, **_):
        asked.append((name, local_files_only))
        if name == "here/bert":
            return str(saved("bert"))
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert load_encoder("hub:here/bert@main", "text", CPU).dim == 32
    assert asked == [("here/bert", True)]
    with pytest.raises(UserError, match="could not be fetched from the hub") as caught:
        load_encoder("hub:away/bert", "text", CPU)
    assert "path:<folder>" in str(caught.value)
    assert asked[1:] == [("away/bert", True), ("away/bert", False)]


def test_a_copy_from_the_hub_without_its_weights_is_completed_or_said_not_to_be_whole(monkeypatch, saved, tmp_path):
    import huggingface_hub

    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    whole = {"half/bert": saved("bert"), "half/pickled": tmp_path}

    def snapshot(name, *, local_files_only=False, **_):
        return str(tmp_path if local_files_only else whole[name])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert load_encoder("hub:half/bert", "text", CPU).dim == 32
    with pytest.raises(UserError, match=r"half/pickled on this machine is not whole"):
        find_encoder("hub:half/pickled", "text", CPU)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "1.safetensors", "b": "2"}}')
    (tmp_path / "1.safetensors").touch()
    with pytest.raises(UserError, match="is not whole"):
        find_encoder("hub:half/pickled", "text", CPU)
