"""The store, its indexes and the search over both."""
