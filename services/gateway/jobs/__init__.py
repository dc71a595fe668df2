"""Ingestion behind an answered request: what was accepted is on the disk, and is worked off after any restart."""
