"""Models of a few kilobytes with random weights, for the tests of what loads and runs models. Made in a second, the same each time."""

from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import Whitespace, WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, WordLevelTrainer
from transformers import (
    AutoConfig,
    AutoModel,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
CLS, SEP = "[CLS]", "[SEP]"
T5_PROMPT_TOKENS = 96
BART_PROMPT_TOKENS = 128
PAIR_TOKENS = 64
QWEN_POSITIONS = 512
IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
# The template of Qwen's chat models without its tools.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


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


def save_tiny_qwen(
    folder: Path,
    texts: Sequence[str],
    *,
    chat_template: str | None = CHAT_TEMPLATE,
    positions: int = QWEN_POSITIONS,
    legible: bool = False,
    seed: int = 4,
) -> Path:
    """A Qwen2 of two layers. Its tokens are bytes and frequent pieces of `texts`, so that what it writes has characters in several tokens; `legible`:
    only tokens that are whole characters.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [END_OF_TEXT, IM_START, IM_END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, BpeTrainer(vocab_size=400, special_tokens=marks, initial_alphabet=alphabet, show_progress=False))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=END_OF_TEXT, eos_token=IM_END, extra_special_tokens=[IM_START], chat_template=chat_template
    )
    config = Qwen2Config(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.5,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = [fast.eos_token_id, fast.pad_token_id]
    if legible:
        pieces = {token: fast.decode([token]) for token in range(len(fast))}
        model.generation_config.suppress_tokens = [token for token, text in pieces.items() if "\ufffd" in text or not text.isprintable()]
    return _save(model, fast, folder)


def save_tiny_encoder(
    folder: Path, texts: Sequence[str], *, kind: str = "bert", pooling: str = "mean", activation: str = "gelu", seed: int = 5
) -> Path:
    """A model of sentence-transformers with two layers of the type `kind` of transformers that knows the words of `texts`."""
    tokenizer = _train_pair_tokenizer(texts)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 2}
    config = AutoConfig.for_model(
        kind, **sizes, max_position_embeddings=PAIR_TOKENS + 2, hidden_act=activation, pad_token_id=tokenizer.pad_token_id, initializer_range=0.5
    )
    torch.manual_seed(seed)
    _save(AutoModel.from_config(config), tokenizer, folder)
    transformer = Transformer(str(folder), max_seq_length=PAIR_TOKENS)
    model = SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)], device="cpu")
    model.save(str(folder / "encoder"))
    return folder / "encoder"


def save_tiny_cross_encoder(folder: Path, texts: Sequence[str], *, labels: int = 1, seed: int = 3) -> Path:
    """A BERT of two layers that reads pairs of up to PAIR_TOKENS tokens and knows the words of `texts`; its scores are random, and differ."""
    fast = _train_pair_tokenizer(texts)
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=PAIR_TOKENS,
        num_labels=labels,
        initializer_range=0.3,
        pad_token_id=fast.pad_token_id,
    )
    torch.manual_seed(seed)
    return _save(BertForSequenceClassification(config), fast, folder)


def _train_pair_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of BERT's kind that knows exactly the words of `texts`, for single texts and pairs of up to PAIR_TOKENS tokens."""
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.train_from_iterator(texts, WordLevelTrainer(special_tokens=[PAD, UNKNOWN, CLS, SEP], show_progress=False))
    tokenizer.post_processor = TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in (CLS, SEP)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=CLS,
        sep_token=SEP,
        model_max_length=PAIR_TOKENS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def _train_tokenizer(texts: Sequence[str], max_tokens: int | None) -> PreTrainedTokenizerFast:
    """A tokenizer that knows exactly the words of `texts`, white space apart, and ends every text with EOS."""
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.train_from_iterator(texts, WordLevelTrainer(special_tokens=[PAD, EOS, UNKNOWN], show_progress=False))
    tokenizer.post_processor = TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))])
    limit = {"model_max_length": max_tokens} if max_tokens else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, **limit)


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
