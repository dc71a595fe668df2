"""What a disk does to a file."""

import random
from collections.abc import Callable, Iterator, Sequence

Damage = Callable[[bytes, random.Random], bytes | None]
"""The content afterwards; None where the file is gone."""


def flip_a_bit(content: bytes, random_: random.Random) -> bytes:
    """Where something stands: most of a database is zeros."""
    changed = bytearray(content)
    at = next((at for at in (random_.randrange(len(content)) for _ in range(50)) if content[at]), 0)
    changed[at] ^= 1 << random_.randrange(8)
    return bytes(changed)


def cut(content: bytes, random_: random.Random) -> bytes:
    return content[: random_.randrange(len(content))]


def lose_a_page(content: bytes, random_: random.Random) -> bytes:
    start = random_.randrange(0, len(content), 4096)
    return content[:start] + bytes(len(content[start : start + 4096])) + content[start + 4096 :]


def garble(content: bytes, random_: random.Random) -> bytes:
    return random_.randbytes(len(content))


def delete(content: bytes, random_: random.Random) -> None:
    return None


ONCE: Sequence[Damage] = (garble, delete)
OFTEN: Sequence[Damage] = (flip_a_bit, cut, lose_a_page)


def damages(content: bytes, times: int, seed: int) -> Iterator[tuple[str, bytes | None]]:
    """Every damage of a file: its name, and the content afterwards. What differs from place to place is done `times` times."""
    random_ = random.Random(seed)
    for damage in (*ONCE, *(OFTEN * times if content else ())):
        yield damage.__name__, damage(content, random_)
