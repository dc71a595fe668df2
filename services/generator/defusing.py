"""Text of documents and of questions as data inside a prompt: it can't forge a citation marker, a delimiter or a line of the prompt.

Only the prompt shows a text this way. Spans and quotes keep it as it is.
"""

import re

# Characters that show nothing: what they part looks joined to a reader.
_UNSEEN = "\\s\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff"
# The brackets around numbers that `services.generator.markers` reads as markers. Digits of all scripts, as models know them too.
_OPENING = re.compile(rf"[\[【［](?=[{_UNSEEN}]*\d)")
_CLOSING = re.compile(rf"(\d[{_UNSEEN}]*)[\]】］]")
# What begins a tag, ours or a model's own, and no comparison with a number.
_TAG = re.compile(r"<(?! *[\d=])")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
_CONTINUED = "\n  "


def as_data(text: str) -> str:
    """`text` for a place in a prompt that ends its line: further lines are indented, so that only the prompt begins one. Blank lines are left out.

    Brackets around a number become round, and `<` becomes `‹` except in a comparison with a number.
    """
    text = _TAG.sub("‹", _CLOSING.sub(r"\1)", _OPENING.sub("(", _CONTROL.sub("", text))))
    return _CONTINUED.join(line.strip() for line in text.splitlines() if line.strip())
