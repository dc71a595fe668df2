"""Models of a few kilobytes with random weights, for the tests of what loads and runs models. Made in a second, the same each time."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordLevelTrainer
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
T5_PROMPT_TOKENS = 96
BART_PROMPT_TOKENS = 128


def save_tiny_t5(folder: Path, texts: Sequence[str], *, seed: int = 2) -> Path:
    """A T5 of two layers that can say the words of `texts`; the limit of its prompts stands in its tokenizer."""
    tokenizer = _train_tokenizer(texts, T5_PROMPT_TOKENS)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_factor=4.0,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(config)
    # Random weights would end the text at once, or fill it with padding.
    model.generation_config.suppress_tokens = [tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]
    return _save(model, tokenizer, folder)


def save_tiny_bart(folder: Path, texts: Sequence[str], *, seed: int = 1) -> Path:
    """A BART of two layers that can say the words of `texts`; the limit of its prompts is the number of its positions."""
    tokenizer = _train_tokenizer(texts, None)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=BART_PROMPT_TOKENS,
        init_std=1.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )
    torch.manual_seed(seed)
    return _save(BartForConditionalGeneration(config), tokenizer, folder)


def _train_tokenizer(texts: Sequence[str], max_tokens: int | None) -> PreTrainedTokenizerFast:
    """A tokenizer that knows exactly the words of `texts`, white space apart, and ends every text with EOS."""
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.train_from_iterator(texts, WordLevelTrainer(special_tokens=[PAD, EOS, UNKNOWN], show_progress=False))
    tokenizer.post_processor = TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))])
    limit = {"model_max_length": max_tokens} if max_tokens else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, **limit)


def _save(model: T5ForConditionalGeneration | BartForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
