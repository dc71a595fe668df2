"""Summaries and answers."""
