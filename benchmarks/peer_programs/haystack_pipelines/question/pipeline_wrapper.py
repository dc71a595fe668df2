"""Haystack's hybrid retrieval behind hayhooks: BM25 and vectors over the store that haystack_ingest.py wrote, joined by rank; and, where
PEER_GENERATOR names a model, the summaries of the passages by a component around transformers' `generate`, a question's in one batch.
"""

import os
from pathlib import Path

import torch
from hayhooks import BasePipelineWrapper
from haystack import Document, Pipeline, component
from haystack.components.joiners import DocumentJoiner
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersTextEmbedder
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

GENERATOR = os.environ.get("PEER_GENERATOR")
TOP_K = 8 if GENERATOR else 10
NEW_TOKENS = 32
PROMPT = "Say what the text tells about the question.\n\nQuestion: {}\n\nText: {}\n\nSummary:"


@component
class Summarizer:
    """What the model writes about each passage."""

    def __init__(self, model: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(model).eval()

    @component.output_types(summaries=list[str])
    def run(self, question: str, documents: list[Document]) -> dict[str, list[str]]:
        """One summary a passage, in order."""
        prompts = [PROMPT.format(question, document.content) for document in documents]
        inputs = self.tokenizer(prompts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            written = self.model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        return {"summaries": self.tokenizer.batch_decode(written, skip_special_tokens=True)}


class PipelineWrapper(BasePipelineWrapper):
    """A question to the best passages, or to their summaries."""

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
        if GENERATOR:
            self.pipeline.add_component("summarizer", Summarizer(GENERATOR))
            self.pipeline.connect("joiner.documents", "summarizer.documents")
        self.pipeline.warm_up()

    def run_api(self, question: str) -> list[dict]:
        """What is found, best first, or what is written about it."""
        asked = {"embedder": {"text": question}, "lexical": {"query": question}}
        if GENERATOR:
            return [{"summary": text} for text in self.pipeline.run({**asked, "summarizer": {"question": question}})["summarizer"]["summaries"]]
        documents = self.pipeline.run(asked)["joiner"]["documents"]
        return [{"source": document.meta["source_id"], "text": document.content, "score": document.score} for document in documents]
