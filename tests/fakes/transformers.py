"""What the ITS plugin derives from."""


class TrainerCallback: ...
