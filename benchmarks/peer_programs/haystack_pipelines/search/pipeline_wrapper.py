"""Haystack's hybrid retrieval behind hayhooks: BM25 and vectors over the store that haystack_ingest.py wrote, joined by rank."""

import os
from pathlib import Path

from hayhooks import BasePipelineWrapper
from haystack import Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersTextEmbedder

TOP_K = 10


class PipelineWrapper(BasePipelineWrapper):
    """A question to the ten best passages."""

    def setup(self) -> None:
        """Load the store and join the parts."""
        store = InMemoryDocumentStore.load_from_disk(str(Path(os.environ["PEER_STORE"]) / "store.json"))
        self.pipeline = Pipeline()
        embedder = SentenceTransformersTextEmbedder(model=os.environ["PEER_MODEL"], progress_bar=False)
        self.pipeline.add_component("embedder", embedder)
        self.pipeline.add_component("dense", InMemoryEmbeddingRetriever(store, top_k=TOP_K))
        self.pipeline.add_component("lexical", InMemoryBM25Retriever(store, top_k=TOP_K))
        self.pipeline.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=TOP_K))
        self.pipeline.connect("embedder.embedding", "dense.query_embedding")
        self.pipeline.connect("dense", "joiner")
        self.pipeline.connect("lexical", "joiner")
        self.pipeline.warm_up()

    def run_api(self, question: str) -> list[dict]:
        """What the joined retrievers find, best first."""
        found = self.pipeline.run({"embedder": {"text": question}, "lexical": {"query": question}})
        return [{"id": document.id, "text": document.content, "score": document.score} for document in found["joiner"]["documents"]]
