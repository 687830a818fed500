"""Problems from the Hugging Face hub, streamed through `datasets`; the token comes from the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from its.errors import MissingError


def resolve_revision(dataset_id: str, revision: str | None) -> str:
    """The commit that a revision (None: the newest) names now.

    Raises:
        MissingError: if the hub cannot be reached or has no such dataset or revision.
    """
    from huggingface_hub import HfApi

    with _explained(dataset_id):
        info = HfApi().dataset_info(dataset_id, revision=revision, timeout=30.0)
    return str(info.sha)


def read_hub_rows(dataset_id: str, subset: str | None, split: str, revision: str) -> Iterator[tuple[str, Any]]:
    """Yield (place, row) of a hub dataset; place is `hub:ID@REVISION[index]`.

    Raises:
        MissingError: if the hub cannot be reached or has no such dataset.
    """
    import datasets

    with _explained(dataset_id):
        rows = datasets.load_dataset(dataset_id, subset, split=split, revision=revision, streaming=True)
        for index, row in enumerate(rows):
            yield f"hub:{dataset_id}@{revision[:12]}[{index}]", row


class _explained:
    """Turns the many ways in which a download fails into one error."""

    def __init__(self, dataset_id: str) -> None:
        self._id = dataset_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: object) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, MissingError):
            return
        names = {part.__name__ for part in type(error).__mro__}
        if names & {
            "ConnectionError",
            "TransportError",
            "OfflineModeIsEnabled",
            "ValueError",
            "OSError",
            "RequestException",
            "HfHubHTTPError",
            "DatasetNotFoundError",
        }:
            raise MissingError(
                f"the hub dataset `{self._id}` cannot be had: {(str(error) or repr(error)).splitlines()[0]}",
                "is the network there, the name right, and HF_TOKEN set if the dataset is gated?",
            ) from error
