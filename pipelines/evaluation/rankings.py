"""Retrieval measures, computed by ir-measures (MacAvaney et al., "Streamlining Evaluation with ir-measures", 2022), which runs trec_eval's code."""

from collections.abc import Mapping, Sequence

import ir_measures

from core.schemas import Passage
from pipelines.evaluation.question_sets import Relevance

RANKING_DEPTH = 10
"""Documents of a ranking that the measures look at."""
MEASURES = {"recall@5": ir_measures.R @ 5, "recall@10": ir_measures.R @ 10, "MRR@10": ir_measures.RR @ 10, "nDCG@10": ir_measures.nDCG @ 10}
"""R: share of the relevant documents among the first k. RR: 1 / rank of the first relevant one, 0 below rank 10. nDCG: Järvelin and Kekäläinen
(2002) with linear gains and logarithmic discount, as trec_eval and BEIR have it. Means over questions."""


def rank_documents(passages: Sequence[Passage], depth: int = RANKING_DEPTH) -> tuple[str, ...]:
    """Ids of the first `depth` documents, each at the place of its best passage. `passages` come best first."""
    return tuple(dict.fromkeys(passage.document_id for passage in passages))[:depth]


def score_rankings(rankings: Mapping[str, Sequence[str]], relevance: Relevance) -> dict[str, dict[str, float]]:
    """Scores by question and measure, 0 to 1, for the questions of `rankings` that have a relevant document; others are left out.

    A ranking holds document ids, best first. The order alone counts: trec_eval would sort equal scores by document id.
    """
    judged = {question: dict(grades) for question, grades in relevance.items() if question in rankings and max(grades.values(), default=0) > 0}
    run = {question: {document: -float(rank) for rank, document in enumerate(rankings[question])} for question in judged}
    names = {measure: name for name, measure in MEASURES.items()}
    scores: dict[str, dict[str, float]] = {question: dict.fromkeys(MEASURES, 0.0) for question in judged}
    for found in ir_measures.iter_calc(list(names), judged, run) if judged else ():
        scores[found.query_id][names[found.measure]] = float(found.value)
    return scores
