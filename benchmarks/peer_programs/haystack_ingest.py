"""Haystack's indexing pipeline, as its tutorials write it: splitter, embedder, writer: MODEL CORPUS FOLDER PROBE."""

import json
import sys
import time
from pathlib import Path

from haystack import Document, Pipeline
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder, SentenceTransformersTextEmbedder

model, corpus, folder, probe = sys.argv[1:]
text_embedder = SentenceTransformersTextEmbedder(model=model, progress_bar=False)
text_embedder.warm_up()
vector = text_embedder.run(probe)["embedding"]
store = InMemoryDocumentStore(embedding_similarity_function="cosine")
pipeline = Pipeline()
pipeline.add_component("splitter", DocumentSplitter(split_by="word", split_length=200, split_overlap=0))
pipeline.add_component("embedder", SentenceTransformersDocumentEmbedder(model=model, progress_bar=False))
pipeline.add_component("writer", DocumentWriter(store))
pipeline.connect("splitter", "embedder")
pipeline.connect("embedder", "writer")
pipeline.warm_up()
started = time.perf_counter()
with Path(corpus).open(encoding="utf-8") as lines:
    documents = [Document(id=record["id"], content=record["text"]) for record in map(json.loads, lines)]
pipeline.run({"splitter": {"documents": documents}})
Path(folder).mkdir()
store.save_to_disk(str(Path(folder) / "store.json"))
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "chunks": store.count_documents(), "vector": vector}))
