"""The four BentoML services; each folder owns its model and its state."""
