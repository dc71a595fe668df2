"""Turns files into documents: one module a format, one table of suffixes."""

from pipelines.ingestion.loading.registry import SUPPORTED_SUFFIXES, load_bytes, load_file

__all__ = ["SUPPORTED_SUFFIXES", "load_bytes", "load_file"]
