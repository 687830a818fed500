"""Formulas: an answer's text read to its last character, and whether two readings say the same."""
