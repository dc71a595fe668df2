"""How many tokens a text has for a model whose tokenizer is elsewhere."""

import math
import re

_LETTERS = re.compile(r"[A-Za-z ]+")
# English has 4 to 5 characters a token in the tokenizers of current models; names, other languages and code have fewer.
_LETTERS_PER_TOKEN = 3
_TOKENS_PER_FOREIGN_SIGN = 2


def estimated_tokens(text: str) -> int:
    """More tokens than nearly any text has: ASCII letters and spaces three a token, each digit and sign one, each sign beyond ASCII two.

    A sign beyond ASCII takes at most one token a byte in byte-level tokenizers, but those of current models have tokens for most scripts.
    """
    letters = sum(len(run) for run in _LETTERS.findall(text))
    ascii_signs = sum(sign.isascii() for sign in text) - letters
    return math.ceil(letters / _LETTERS_PER_TOKEN) + ascii_signs + _TOKENS_PER_FOREIGN_SIGN * (len(text) - letters - ascii_signs)
