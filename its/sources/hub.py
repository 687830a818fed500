"""Records of the Hugging Face hub, streamed through `datasets`.

The token is the environment's (`HF_TOKEN`, or what `hf auth login` left there), never a recipe's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from its.errors import Fault, FaultsError, MissingError
from its.sources.records import Record, Table
from its.sources.workers.narrow_floats import rows_as_written
from its.streams import Stream

_UNREACHABLE = {
    "ConnectionError",
    "TransportError",
    "OfflineModeIsEnabled",
    "RequestException",
    "HfHubHTTPError",
    "DatasetNotFoundError",
    "TimeoutError",
    "gaierror",
}
"""By name, since importing `datasets`, `requests` and `httpx` to name them would cost seconds."""
_BROKEN = {"ArrowException", "DatasetGenerationError", "CastError", "JSONDecodeError", "UnicodeDecodeError"}


def resolve_revision(dataset_id: str, revision: str | None) -> str:
    """The commit that a revision (None: the newest) names now.

    Raises:
        MissingError: if the hub cannot be reached or has no such dataset or revision.
    """
    from huggingface_hub import HfApi

    with _explained(dataset_id):
        info = HfApi().dataset_info(dataset_id, revision=revision, timeout=30.0)
    return str(info.sha)


def read_hub(dataset_id: str, subset: str | None, split: str, revision: str, label: str | None = None) -> Table:
    """The records of a hub dataset, streamed; a place is `hub:ID@REVISION[index]`.

    Args:
        label: in place of the ID in a place.

    Raises:
        MissingError: while reading, if the hub cannot be reached or has no such dataset, subset or split.
        FaultsError: while reading, if its files cannot be parsed; the row is named.
    """
    name = f"hub:{label or dataset_id}@{revision[:12]}"
    return Table(name, lambda n: f"{name}[{n}]", Stream(_records(dataset_id, subset, split, revision, name)))


def _records(
    dataset_id: str, subset: str | None, split: str, revision: str, name: str
) -> Generator[Record, None, None]:
    import datasets

    with _explained(dataset_id):
        found = datasets.load_dataset(dataset_id, subset, split=split, revision=revision, streaming=True)
        features = getattr(found, "features", None)  # None where files hold text, whose numbers are as written
        schema = None if features is None else features.arrow_schema
        rows = iter(found)
    index = 0
    while True:
        with _explained(dataset_id, f"{name}[{index}]"):
            row = next(rows, None)
        if row is None:
            return
        with _explained(dataset_id, f"{name}[{index}]"):
            row = row if schema is None else rows_as_written([dict(row)], schema)[0]
        yield Record(index, row)
        index += 1


@contextmanager
def _explained(dataset_id: str, place: str | None = None) -> Iterator[None]:
    """Turns the many ways in which a download fails into one error, and a broken row into one that names it.

    Args:
        dataset_id: of the dataset.
        place: the row being read; None while the dataset is opened, when any failure means that it is not available.
    """
    try:
        yield
    except Exception as error:
        names = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
        message = (str(error) or repr(error)).splitlines()[0]
        # The last two are raised for a name, subset or split that the hub does not have, and by the operating system.
        if names & _UNREACHABLE or (names & {"ValueError", "OSError"} and (place is None or not names & _BROKEN)):
            raise MissingError(
                f"the hub dataset `{dataset_id}` is not available: {message}",
                "is the network there, the name right, and HF_TOKEN set if the dataset is gated?",
            ) from error
        if place is not None and names & _BROKEN:
            hint = "pin another `revision`, or download the file and fix it"
            raise FaultsError([Fault(place, f"the hub's row cannot be read: {message}", hint)]) from error
        if place is not None:  # `datasets` decodes untrusted files, and fails in many ways
            hint = "download the file, and name it under `source: {kind: files}`"
            what = f"the hub's row cannot be read: {type(error).__name__}: {message}"
            raise FaultsError([Fault(place, what, hint)]) from error
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__
