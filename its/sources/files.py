"""Problems from local files: JSON (an array), JSONL, Parquet, by their ending."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from its.errors import DataError, Fault, FaultsError, MissingError
from its.rows import raise_faults, read_json_lines


def read_file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (place, row) of a data file; place is `path:line`, or `path[index]` where lines mean nothing.

    Raises:
        MissingError: if there is no such file.
        FaultsError: after the last good row, with every broken line.
        DataError: if the ending is unknown or the Parquet file is damaged.
    """
    if not path.is_file():
        raise MissingError(f"{path}: no such file", "paths are relative to the folder of dvc.yaml")
    if path.suffix == ".jsonl":
        faults: list[Fault] = []
        for line, row in read_json_lines(path, faults):
            yield f"{path}:{line}", row
        raise_faults(faults)
    elif path.suffix == ".json":
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise FaultsError(
                [Fault(f"{path}:{error.lineno}:{error.colno}", f"broken JSON: {error.msg.lower()}")]
            ) from error
        except UnicodeDecodeError as error:
            raise FaultsError([Fault(f"{path}:1", f"not UTF-8 at byte {error.start}", "re-encode the file")]) from error
        if not isinstance(rows, list):
            raise DataError(
                f"{path}:1: not an array but a {type(rows).__name__}",
                "wanted `[{...}, {...}]`, or JSON lines in a `.jsonl` file",
            )
        for index, row in enumerate(rows):
            yield f"{path}[{index}]", row
    elif path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.ParquetFile(path)
            index = 0
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    yield f"{path}[{index}]", row
                    index += 1
        except pyarrow.ArrowException as error:
            raise DataError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error
    else:
        raise DataError(f"{path}: unknown ending `{path.suffix}`", "known: .json, .jsonl, .parquet")
