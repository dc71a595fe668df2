"""`ekiben eval`: services with a set's documents, its questions asked, and the report as table, JSON and page."""
