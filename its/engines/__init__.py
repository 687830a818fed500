"""What answers requests: vLLM, transformers, servers, the store; sessions over them."""
