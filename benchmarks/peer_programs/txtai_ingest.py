"""txtai's index of texts, hybrid and with content, as its documentation makes it: MODEL CORPUS FOLDER PROBE."""

import json
import sys
import time
from pathlib import Path

from txtai import Embeddings

model, corpus, folder, probe = sys.argv[1:]
embeddings = Embeddings(path=model, content=True, hybrid=True)
embeddings.transform(probe)
started = time.perf_counter()
with Path(corpus).open(encoding="utf-8") as lines:
    embeddings.index((record["id"], record["text"], None) for record in map(json.loads, lines))
embeddings.save(folder)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "chunks": embeddings.count(), "vector": embeddings.transform(probe).tolist()}))
