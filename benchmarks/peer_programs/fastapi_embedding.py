"""An endpoint of FastAPI around SentenceTransformer.encode, as one would write it."""

import os

from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

app = FastAPI()
model = SentenceTransformer(os.environ["PEER_MODEL"], device="cpu")


class Body(BaseModel):
    """What is asked."""

    text: str


@app.post("/embed")
def embed(body: Body) -> dict[str, list[float]]:
    """The text's vector."""
    return {"embedding": model.encode(body.text, show_progress_bar=False).tolist()}
