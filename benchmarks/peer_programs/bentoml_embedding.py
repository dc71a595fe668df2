"""BentoML's batchable as it comes: its own example of a service for sentence-transformers."""

import os

import bentoml
import numpy as np
from sentence_transformers import SentenceTransformer


@bentoml.service(traffic={"timeout": 120})
class SentenceEmbedding:
    """Texts to vectors; BentoML gathers concurrent requests."""

    def __init__(self) -> None:
        self.model = SentenceTransformer(os.environ["PEER_MODEL"], device="cpu")

    @bentoml.api(batchable=True)
    def encode(self, sentences: list[str]) -> np.ndarray:
        """One vector a sentence, in order."""
        return self.model.encode(sentences, show_progress_bar=False)
