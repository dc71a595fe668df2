"""Records of answers."""

from core.schemas import Answer, AnswerRecord, AnswerRequest
from core.settings import RecordsSettings, load_settings
from services.clock import now

REQUEST = AnswerRequest(question="What?")


def answer(number: int) -> Answer:
    """An answer with the id `ans_NUMBER`."""
    return Answer(
        id=f"ans_{number}",
        question=REQUEST.question,
        answer="Nothing.",
        abstained=True,
        confidence=None,
        degraded=False,
        citations=(),
        passages=(),
        summaries=(),
        timings_ms={},
    )


def record(number: int, created_at: str | None = None) -> AnswerRecord:
    """The record of `answer(number)`."""
    return AnswerRecord(id=f"ans_{number}", created_at=created_at or now(), request=REQUEST, answer=answer(number))


def settings(data_dir: object, **changed: object) -> RecordsSettings:
    """The defaults, with another folder."""
    return load_settings().records.model_copy(update={"data_dir": data_dir, **changed})
