"""Personas and queries: what the writer is asked, the rules, the controls."""
