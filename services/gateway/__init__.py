"""The HTTP entrance: questions, searches and documents."""
