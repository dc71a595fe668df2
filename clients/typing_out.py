"""An answer on a terminal while it is written, so that in the end the same stands there as if it had come whole."""

from collections.abc import Iterable

import typer

from clients.rendering import render_answer, wrapped
from core.schemas import Answer, AnswerEvent, DoneEvent, TokenEvent


def type_out(events: Iterable[AnswerEvent]) -> Answer:
    """Print the answer in `events`, word by word as its tokens come, then what belongs under it."""
    text = shown = ""
    try:
        for event in events:
            if isinstance(event, TokenEvent):
                text += event.data.text
                shown += _print_rest(_settled(text), shown)
            elif isinstance(event, DoneEvent):
                shown += _print_rest(render_answer(event.data) + "\n", shown)
                return event.data
    finally:
        if shown and not shown.endswith("\n"):
            typer.echo()
    raise AssertionError("a stream of events ends with `done` or raises")


def _settled(text: str) -> str:
    """The wrapped lines of `text` without its last word, which may go on and then stand on the next line."""
    return wrapped(text[: max(text.rfind(" "), text.rfind("\n"), 0)])


def _print_rest(wanted: str, shown: str) -> str:
    """Print what `wanted` adds to `shown`; a text that turned out otherwise is printed anew."""
    rest = wanted[len(shown) :] if wanted.startswith(shown) else "\n" + wanted
    typer.echo(rest, nl=False)
    return rest
