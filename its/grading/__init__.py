"""Answers found in responses and compared with references."""
