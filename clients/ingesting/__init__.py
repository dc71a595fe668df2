"""From paths to stored documents: found, loaded, compared with what is stored, sent, and the leftovers deleted."""
