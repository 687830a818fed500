"""Engines that generate responses (vLLM, transformers, servers, the store), and sessions over them."""
