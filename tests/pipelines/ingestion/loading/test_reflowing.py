import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingestion.loading.reflowing import reflow

LINES = st.lists(st.text(st.sampled_from("abcX .-–1—$()•漢。\t\u00ad"), max_size=20), min_size=1, max_size=12)


@given(LINES)
def test_only_whitespace_and_hyphens_change(lines):
    def letters(text: str) -> str:
        return "".join(char for char in text if char not in "-\u00ad" and not char.isspace())

    assert letters(reflow("\n".join(lines))) == letters("".join(lines))


@given(LINES)
def test_the_result_is_tidy(lines):
    result = reflow("\n".join(lines))
    assert result == result.strip()
    assert "\n\n\n" not in result
    assert "  " not in result


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("the first forty years of\nrailways were loud", "the first forty years of railways were loud"),
        ("a paragraph that is an exam-\nple of hyphenation", "a paragraph that is an example of hyphenation"),
        ("an exam-\nple on a line that is very much longer than the one above", "an example on a line that is very much longer than the one above"),
        ("an excursion train full of Sunday-\nSchool children", "an excursion train full of Sunday-School children"),
        ("the engine was built by soft\u00ad\nened steel makers", "the engine was built by softened steel makers"),
        (
            "Straight air\nGeorge Westinghouse was twenty-two then, when he took it",
            "Straight air\nGeorge Westinghouse was twenty-two then, when he took it",
        ),
        (
            "it goes on to the end of the line.\nIt is so.\nIt goes on to the end again",
            "it goes on to the end of the line.\nIt is so.\nIt goes on to the end again",
        ),
        ("• Gotthard Tunnel, 57.1 km\n• Seikan Tunnel, 53.9 km", "• Gotthard Tunnel, 57.1 km\n• Seikan Tunnel, 53.9 km"),
        ("1. open the valve now\n2. close the valve now", "1. open the valve now\n2. close the valve now"),
        (
            "Total net sales $ 81,797 $ 82,959\nCost of sales, all of them 45,384 47,074",
            "Total net sales $ 81,797 $ 82,959\nCost of sales, all of them 45,384 47,074",
        ),
        ("what it holds is the part beneath\nPage 1", "what it holds is the part beneath\nPage 1"),
        ("what it holds is the part beneath\n- 12 -", "what it holds is the part beneath\n- 12 -"),
        ("one line that is long\n\n\n\nanother one as long", "one line that is long\n\nanother one as long"),
        ("日本の鉄道は明治五年に\n新橋と横浜の間で開業した", "日本の鉄道は明治五年に新橋と横浜の間で開業した"),
        ("  spaced   out \t words  ", "spaced out words"),
        ("", ""),
    ],
)
def test_examples(page, expected):
    assert reflow(page) == expected
