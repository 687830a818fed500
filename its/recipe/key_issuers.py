"""Which variables a recipe may send to which servers without an allowance of the machine's owner.

A recipe names the variable and the server, and may be someone else's: with a list of refused variables, every other
secret of the user could go to any host. So without an allowance a key goes only to the service that issued it,
encrypted, or to a server of this machine or its own network. A service that runs its customers' code (an endpoint, a
space, an app, a virtual machine) is not an issuer: its customer would see the key.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from its.recipe.safe_settings import near

_LABEL = r"[a-z0-9-]+"
_HUGGING_FACE = r"(router|api-inference)\.huggingface\.co"
_AZURE = rf"{_LABEL}\.(openai\.azure\.com|cognitiveservices\.azure\.com|services\.ai\.azure\.com)"
_GOOGLE = r"generativelanguage\.googleapis\.com"
_BEDROCK = rf"bedrock-runtime(-fips)?\.{_LABEL}\.amazonaws\.com|bedrock-mantle\.{_LABEL}\.api\.aws"
_DATABRICKS = rf"{_LABEL}\.cloud\.databricks\.com|adb-\d+\.\d+\.azuredatabricks\.net|\d+\.\d+\.gcp\.databricks\.com"
_DASHSCOPE = r"dashscope(-intl|-us)?\.aliyuncs\.com"

ISSUERS = {
    "AI21_API_KEY": r"api\.ai21\.com",
    "ANTHROPIC_API_KEY": r"api\.anthropic\.com",
    "ARK_API_KEY": rf"ark\.{_LABEL}\.(volces|bytepluses)\.com",
    "AWS_BEARER_TOKEN_BEDROCK": _BEDROCK,
    "AZURE_API_KEY": _AZURE,
    "AZURE_OPENAI_API_KEY": _AZURE,
    "AZURE_OPENAI_KEY": _AZURE,
    "BASETEN_API_KEY": r"inference\.baseten\.co",
    "CEREBRAS_API_KEY": r"api\.cerebras\.ai",
    "CLOUDFLARE_API_TOKEN": r"api\.cloudflare\.com",
    "COHERE_API_KEY": r"api\.cohere\.(ai|com)",
    "CO_API_KEY": r"api\.cohere\.(ai|com)",
    "DASHSCOPE_API_KEY": _DASHSCOPE,
    "DATABRICKS_TOKEN": _DATABRICKS,
    "DEEPINFRA_API_KEY": r"api\.deepinfra\.com",
    "DEEPINFRA_TOKEN": r"api\.deepinfra\.com",
    "DEEPSEEK_API_KEY": r"api\.deepseek\.com",
    "FIREWORKS_API_KEY": r"api\.fireworks\.ai",
    "GEMINI_API_KEY": _GOOGLE,
    "GITHUB_TOKEN": r"models\.github\.ai|models\.inference\.ai\.azure\.com",
    "GOOGLE_API_KEY": _GOOGLE,
    "GROQ_API_KEY": r"api\.groq\.com",
    "HF_TOKEN": _HUGGING_FACE,
    "HUGGINGFACEHUB_API_TOKEN": _HUGGING_FACE,
    "HUGGINGFACE_API_KEY": _HUGGING_FACE,
    "HUGGING_FACE_HUB_TOKEN": _HUGGING_FACE,
    "HYPERBOLIC_API_KEY": r"api\.hyperbolic\.xyz",
    "LAMBDA_API_KEY": r"api\.lambda\.ai",
    "MINIMAX_API_KEY": r"api\.(minimax\.io|minimaxi\.com)",
    "MISTRAL_API_KEY": r"(api|codestral)\.mistral\.ai",
    "MOONSHOT_API_KEY": r"api\.moonshot\.(ai|cn)",
    "NEBIUS_API_KEY": r"api\.(studio|tokenfactory)\.nebius\.(ai|com)",
    "NOVITA_API_KEY": r"api\.novita\.ai",
    "NVIDIA_API_KEY": r"integrate\.api\.nvidia\.com",
    "OPENAI_API_KEY": r"((eu|us)\.)?api\.openai\.com",
    "OPENROUTER_API_KEY": r"openrouter\.ai",
    "PERPLEXITY_API_KEY": r"api\.perplexity\.ai",
    "PPLX_API_KEY": r"api\.perplexity\.ai",
    "SAMBANOVA_API_KEY": r"api\.sambanova\.ai",
    "SCW_SECRET_KEY": r"api\.scaleway\.ai",
    "SILICONFLOW_API_KEY": r"api\.siliconflow\.(cn|com)",
    "TOGETHER_API_KEY": r"api\.together\.(xyz|ai)",
    "UPSTAGE_API_KEY": r"api\.upstage\.ai",
    "WRITER_API_KEY": r"api\.writer\.com",
    "XAI_API_KEY": r"((eu-west-1|us-east-1)\.)?api\.x\.ai",
    "ZAI_API_KEY": r"api\.z\.ai",
    "ZHIPUAI_API_KEY": r"open\.bigmodel\.cn",
}
"""Variable that a service documents for its key -> the service's hosts, as a pattern of the whole name."""


def destination(url: str) -> str | None:
    """Where a key would go, as an allowance states it: `HOST`, `HOST:PORT`, or `http://HOST:PORT` if not encrypted.

    None if it is not an address.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if not host:
        return None
    secure = parts.scheme == "https"
    shown = host if port in (None, 443 if secure else 80) else f"{host}:{port}"
    return shown if secure else f"http://{shown}"


def sent_home(variable: str, url: str) -> bool:
    """Whether a key goes to its issuer, over https, or to a server of this machine or its own network."""
    where = destination(url)
    if where is None or not where.isascii():
        return False
    if near(urlsplit(url).hostname):
        return True
    return variable in ISSUERS and re.fullmatch(ISSUERS[variable], where) is not None
