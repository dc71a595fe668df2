from core.schemas import EmbedItem, EmbedResult
from services.embedder.query_cache import QueryCache

QUESTION = EmbedItem(text="Where?", kind="query")


def _result(fingerprint: str = "a") -> EmbedResult:
    return EmbedResult(vector="AAAA", tokens=3, fingerprint=fingerprint, dtype="float32")


def test_a_question_is_remembered_for_its_encoder_only() -> None:
    cache = QueryCache(2)
    cache.put(QUESTION, _result())
    found = cache.get("a", QUESTION)
    assert found is not None
    assert (found.vector, found.tokens, found.batch.items if found.batch else 0) == ("AAAA", 3, 1)
    assert cache.get("b", QUESTION) is None
    assert cache.get("a", EmbedItem(text="Who?", kind="query")) is None


def test_a_document_is_not_remembered_nor_taken_for_a_question() -> None:
    cache = QueryCache(2)
    document = EmbedItem(text="Where?")
    cache.put(document, _result())
    assert cache.get("a", QUESTION) is None
    cache.put(QUESTION, _result())
    assert cache.get("a", document) is None


def test_the_latest_questions_stay() -> None:
    cache = QueryCache(2)
    items = [EmbedItem(text=str(number), kind="query") for number in range(3)]
    for item in items:
        cache.put(item, _result())
    assert [cache.get("a", item) is None for item in items] == [True, False, False]


def test_a_cache_of_no_size_remembers_nothing() -> None:
    cache = QueryCache(0)
    cache.put(QUESTION, _result())
    assert cache.get("a", QUESTION) is None
