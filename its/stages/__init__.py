"""The stages of dvc.yaml, a module each, and what commands share with them."""
