import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadEvaluation
from pipelines.evaluation.question_sets import SetQuestion, read_question_set, sample_evenly
from tests.pipelines.evaluation.making import CORPUS, QRELS, QUERIES, lines, make_set

HEAD = "query-id\tcorpus-id\tscore\n"


def test_a_set_is_read_with_either_name_of_its_ids(tmp_path: Path) -> None:
    found = read_question_set(make_set(tmp_path / "tiny"))
    assert (found.name, found.document_ids) == ("tiny", {"d1", "d2"})
    assert [question.id for question in found.questions] == ["q1", "q2", "q3"]
    assert [question.answerable for question in found.questions] == [True, True, False]
    assert found.relevance == {"q1": {"d1": 1}, "q2": {"d2": 2, "d1": 0}}
    assert (found.relevant("q2"), found.relevant("q3")) == ({"d2"}, set())


def test_numbers_are_ids_and_null_titles_are_none_as_in_beir(tmp_path: Path) -> None:
    corpus = lines([{"_id": 7, "title": None, "text": "a", "metadata": {}}])
    queries = lines([{"_id": 1, "text": "b", "metadata": {}, "answers": None}])
    found = read_question_set(make_set(tmp_path, {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels.tsv": HEAD + "1\t7\t1\n"}))
    assert (found.document_ids, found.relevant("1")) == ({"7"}, {"7"})


def test_byte_order_marks_crlf_and_blank_lines_are_no_fault(tmp_path: Path) -> None:
    queries = b"\xef\xbb\xbf" + lines(QUERIES).replace("\n", "\r\n\r\n").encode()
    qrels = b"\xef\xbb\xbf" + QRELS.replace("\n", "\r\n").encode() + b"\r\n"
    assert len(read_question_set(make_set(tmp_path, {"queries.jsonl": queries, "qrels.tsv": qrels})).questions) == 3


def test_a_set_may_have_no_judgement(tmp_path: Path) -> None:
    assert read_question_set(make_set(tmp_path, {"qrels.tsv": HEAD})).relevance == {}


def test_a_split_is_a_field_or_a_file_of_judgements(tmp_path: Path) -> None:
    of_field = read_question_set(make_set(tmp_path / "field"), "test")
    folder = make_set(tmp_path / "file", {"qrels/dev.tsv": HEAD + "q1\td1\t1\n", "qrels/rest.tsv": HEAD + "q2\td2\t1\n"})
    (folder / "qrels.tsv").unlink()
    assert [question.id for question in of_field.questions] == ["q2"]
    assert [question.id for question in read_question_set(folder, "dev").questions] == ["q1"]
    assert set(read_question_set(folder).relevance) == {"q1", "q2"}


def test_a_set_may_name_folders_of_documents(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.txt").write_text("The tunnel.")
    folder = make_set(tmp_path / "set", {"set.json": json.dumps({"documents": ["../documents"]})})
    before = read_question_set(folder)
    assert (before.corpus, before.documents) == (None, ((tmp_path / "documents").resolve(),))
    (tmp_path / "documents" / "a.txt").write_text("The bridge.")
    assert read_question_set(folder).digest != before.digest
    with pytest.raises(BadEvaluation, match=r"question 'q1' name the document 'd1', which there is not"):
        before.refuse_unknown_documents(frozenset({"a.txt"}))


def test_the_digest_is_that_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    first, second, other = (make_set(tmp_path / name) for name in ("a", "b", "c"))
    make_set(other, {"qrels.tsv": HEAD})
    digests = [read_question_set(folder).digest for folder in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


GALLERY = {
    "not json": ({"queries.jsonl": lines(QUERIES[:1]) + "{oops\n"}, r"queries\.jsonl, line 2: not JSON"),
    "a list": ({"corpus.jsonl": "[1]\n"}, r"corpus\.jsonl, line 1: a JSON object is expected, not list"),
    "no utf-8": ({"corpus.jsonl": b'{"_id": "d1", "text": "\xff"}\n'}, r"corpus\.jsonl, line 1: not JSON: 'utf-8'"),
    "deep nesting": ({"corpus.jsonl": "[" * 100_000 + "\n"}, r"corpus\.jsonl, line 1: not JSON"),
    "a document without id": ({"corpus.jsonl": lines([{"text": "a"}])}, r'corpus\.jsonl, line 1: there is no id under "_id" or "id"'),
    "a document without text": ({"corpus.jsonl": lines([{"_id": "a"}])}, r'corpus\.jsonl, line 1: there is no string under "text"'),
    "a text that is none": ({"corpus.jsonl": lines([{"_id": "a", "text": 1}])}, r'there is no string under "text"'),
    "a title that is none": ({"corpus.jsonl": lines([{"_id": "a", "text": "b", "title": 1}])}, r'there is no string under "title"'),
    "documents of one id": ({"corpus.jsonl": lines([*CORPUS, CORPUS[0]])}, r"corpus\.jsonl, line 3: the id 'd1' is that of line 1"),
    "no documents": ({"corpus.jsonl": "\n"}, r"corpus\.jsonl: there is no document in it"),
    "questions of one id": ({"queries.jsonl": lines([*QUERIES, QUERIES[1]])}, r"queries\.jsonl, line 4: the id 'q2' is that of line 2"),
    "no questions": ({"queries.jsonl": ""}, r"queries\.jsonl: there is no question in it"),
    "a blank question": ({"queries.jsonl": lines([{"_id": "q1", "text": " "}])}, r"queries\.jsonl, line 1: text: "),
    "a question without text": ({"queries.jsonl": lines([{"_id": "q1"}])}, r"queries\.jsonl, line 1: text: Field required"),
    "a boolean id": ({"queries.jsonl": lines([{"_id": True, "text": "a"}])}, r"queries\.jsonl, line 1: there is no id"),
    "answers in a string": ({"queries.jsonl": lines([{**QUERIES[0], "answers": "57"}])}, r"queries\.jsonl, line 1: answers: "),
    "a blank answer": ({"queries.jsonl": lines([{**QUERIES[0], "answers": [""]}])}, r"queries\.jsonl, line 1: answers\.0: "),
    "answerable perhaps": ({"queries.jsonl": lines([{**QUERIES[0], "answerable": "perhaps"}])}, r"queries\.jsonl, line 1: answerable: "),
    "scopes within one another": (
        {"queries.jsonl": lines([{**QUERIES[0], "scope": "d"}, {**QUERIES[1], "scope": "d2"}, QUERIES[2]])},
        r"the scope 'd2' lies inside 'd'",
    ),
    "no head": ({"qrels.tsv": "q1\td1\t1\n"}, r"qrels\.tsv, line 1: the head has to be query-id, corpus-id, score"),
    "empty judgements": ({"qrels.tsv": ""}, r"qrels\.tsv, line 1: the head"),
    "two columns": ({"qrels.tsv": HEAD + "q1\td1\n"}, r"qrels\.tsv, line 2: question, document and a whole number are expected"),
    "blanks for tabs": ({"qrels.tsv": HEAD + "q1 d1 1\n"}, r"qrels\.tsv, line 2: question, document"),
    "half a grade": ({"qrels.tsv": HEAD + "q1\td1\t0.5\n"}, r"qrels\.tsv, line 2: question, document"),
    "an unknown question": ({"qrels.tsv": HEAD + "q1\td1\t1\nq9\td1\t1\n"}, r"qrels\.tsv, line 3: there is no question 'q9'"),
    "an unknown document": ({"qrels.tsv": HEAD + "q1\td9\t1\n"}, r"question 'q1' name the document 'd9', which there is not"),
    "judged twice": ({"qrels.tsv": HEAD + "q1\td1\t1\nq1\td1\t0\n"}, r"qrels\.tsv, line 3: .* were judged already"),
    "judgements in latin-1": ({"qrels.tsv": HEAD.encode() + b"q\xe9\td1\t1\n"}, r"qrels\.tsv: can't be read"),
    "a set file that is none": ({"set.json": "{}"}, r"set\.json: documents: Field required"),
    "a set file without json": ({"set.json": "{"}, r"set\.json: Invalid JSON"),
    "a set file that names no folder": ({"set.json": '{"documents": ["../nowhere"]}'}, r"set\.json: .*nowhere is no folder"),
}


@pytest.mark.parametrize(("files", "message"), GALLERY.values(), ids=GALLERY)
def test_a_broken_set_is_refused_with_the_place_of_the_fault(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(BadEvaluation, match=message):
        read_question_set(make_set(tmp_path / "broken", files))


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (make_set(tmp_path) / name).unlink()
    with pytest.raises(BadEvaluation, match=f"{name}: No such file"):
        read_question_set(tmp_path)


def test_judgements_have_to_be_somewhere(tmp_path: Path) -> None:
    (make_set(tmp_path) / "qrels.tsv").unlink()
    with pytest.raises(BadEvaluation, match=r"there is neither qrels\.tsv nor a file qrels/\*\.tsv"):
        read_question_set(tmp_path)


def test_scopes_need_a_corpus_whose_ids_begin_with_them(tmp_path: Path) -> None:
    files = {"set.json": '{"documents": ["."]}', "queries.jsonl": lines([{**QUERIES[0], "scope": "d"}, *QUERIES[1:]])}
    with pytest.raises(BadEvaluation, match=r"questions with a scope need a corpus\.jsonl"):
        read_question_set(make_set(tmp_path, files))


def test_a_folder_that_is_none_or_makes_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadEvaluation, match="there is no such folder"):
        read_question_set(tmp_path / "nowhere")
    with pytest.raises(BadEvaluation, match="the folder's name becomes that of a collection"):
        read_question_set(make_set(tmp_path / "a set"))


def test_an_unknown_split_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadEvaluation, match="there is no split 'train'; there is test"):
        read_question_set(make_set(tmp_path), "train")


@given(st.integers(1, 200), st.integers(1, 250))
def test_a_sample_is_spread_evenly_and_keeps_the_order(total: int, count: int) -> None:
    questions = tuple(SetQuestion(id=str(number), text="a") for number in range(total))
    places = [int(question.id) for question in sample_evenly(questions, count)]
    gaps = [later - earlier for earlier, later in pairwise(places)]
    assert len(places) == min(count, total)
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert places[0] == 0
    assert sample_evenly(questions, None) == questions
