"""What the ITS plugin derives from."""


class BasePlugin:
    def __init__(self) -> None: ...
