from typing import Any

HERE: Any = None


def get_node_ip_address() -> str:
    return str(HERE.address)
