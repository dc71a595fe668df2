"""The shared vocabulary. Imports nothing of ours, and neither BentoML nor torch, transformers or faiss."""
