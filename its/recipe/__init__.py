"""Recipes: reading, schema, every check."""
