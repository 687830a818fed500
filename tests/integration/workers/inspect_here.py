"""Imported by the fork server of vLLM: look at the class of a model here.

vLLM 0.32 does so in another process, so that CUDA is not started here, and that process imports vLLM again, which takes
ten seconds for each architecture that its cache does not have.
"""

from vllm.model_executor.models import registry

registry._run_in_subprocess = lambda look: look()
