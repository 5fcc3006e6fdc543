"""Frozen backbones behind one door, the decoders that feed them, and the cache that remembers.

Nothing heavy is imported here: torch and its kin load when an encoder does, in the process that uses it.
"""

from rlmba_pipelines.encoders.base import Encoder, Found
from rlmba_pipelines.encoders.cache import FeatureCache
from rlmba_pipelines.encoders.containers import MediaDecodeError
from rlmba_pipelines.encoders.door import find_encoder, load_encoder
from rlmba_pipelines.encoders.extract import decoders, extract_features
from rlmba_pipelines.encoders.media import decode_audio, decode_image, decode_text
from rlmba_pipelines.encoders.video import decode_video, poster

__all__ = [
    "Encoder",
    "FeatureCache",
    "Found",
    "MediaDecodeError",
    "decode_audio",
    "decode_image",
    "decode_text",
    "decode_video",
    "decoders",
    "extract_features",
    "find_encoder",
    "load_encoder",
    "poster",
]
