"""Language models behind one port: they turn prompts into text, and know nothing of passages, citations or requests."""
