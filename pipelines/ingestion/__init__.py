"""The journey from files and request bodies to stored chunks."""
