"""An encoder of a few kilobytes with random weights, made the same each time, so that servers under fault start and ingest fast."""

from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import WordLevelTrainer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

_WINDOW = 128
_PAD, _UNKNOWN = "[PAD]", "[UNK]"


def save_tiny_encoder(folder: Path, texts: Sequence[str]) -> Path:
    """A BERT of one layer that knows the words of `texts`, as a sentence-transformers model."""
    tokenizer = Tokenizer(WordLevel(unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.train_from_iterator(texts, WordLevelTrainer(special_tokens=[_PAD, _UNKNOWN], show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_PAD, unk_token=_UNKNOWN, model_max_length=_WINDOW)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(fast), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=_WINDOW
    )
    BertModel(config).save_pretrained(folder / "bert")
    fast.save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=_WINDOW)
    SentenceTransformer(modules=[transformer, Pooling(config.hidden_size)], device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"
