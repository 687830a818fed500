"""Personas and queries: requests to the writer, rules, controls."""
