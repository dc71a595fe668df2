"""The OpenAI-compatible API: chat completions, embeddings and models, over the journeys of the gateway."""
