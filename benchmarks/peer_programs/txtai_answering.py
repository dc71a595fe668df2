"""A pipeline of txtai's API server: the summaries of the passages found for each question, by its own Summary pipeline, a question's in one batch."""

import os

from txtai.pipeline import Pipeline, Summary

PASSAGES = 8
NEW_TOKENS = 32
PROMPT = "Say what the text tells about the question.\n\nQuestion: {}\n\nText: {}\n\nSummary:"


class Answering(Pipeline):
    """A question to summaries."""

    def __init__(self, application: object) -> None:
        self.application = application
        self.summary = Summary(os.environ["PEER_GENERATOR"])
        # Summary searches four beams unless the model says otherwise; the other sides are greedy.
        self.summary.model.config.task_specific_params = {"summarization": {"num_beams": 1}}

    def __call__(self, questions: list[str]) -> list[list[str]]:
        """Summaries a question, in order of the passages."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: str) -> list[str]:
        prompts = [PROMPT.format(question, passage["text"]) for passage in self.application.search(question, limit=PASSAGES)]
        return self.summary(prompts, maxlength=NEW_TOKENS + 1)  # with the token that a text begins with
