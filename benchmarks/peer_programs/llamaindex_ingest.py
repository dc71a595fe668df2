"""LlamaIndex's VectorStoreIndex of texts, as its documentation makes it: MODEL CORPUS FOLDER PROBE."""

import json
import sys
import time
from pathlib import Path

from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

model, corpus, folder, probe = sys.argv[1:]
Settings.embed_model = HuggingFaceEmbedding(model_name=model)
vector = Settings.embed_model.get_text_embedding(probe)
started = time.perf_counter()
with Path(corpus).open(encoding="utf-8") as lines:
    documents = [Document(id_=record["id"], text=record["text"]) for record in map(json.loads, lines)]
index = VectorStoreIndex.from_documents(documents)
index.storage_context.persist(folder)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "chunks": len(index.docstore.docs), "vector": vector}))
