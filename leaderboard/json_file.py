"""What is written as JSON: strict, with a schema version, whole or not at all, and every damage named."""

import json
import os
import uuid
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

SCHEMA_VERSION: Final = 1


class ResultError(ValueError):
    """A result, sweep or baseline that cannot be used; the message names the file or folder and the remedy."""


class Document(BaseModel):
    """Base of all that is written as JSON: immutable, unknown keys rejected, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


D = TypeVar("D", bound=Document)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not strict JSON")


def _check_version(document: Any, path: Path, remedy: str) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version == SCHEMA_VERSION and type(version) is int:
        return
    supported = f"{path}: its schema version is {version!r}; this anomaly-bench supports version {SCHEMA_VERSION}."
    newer = isinstance(version, int) and version > SCHEMA_VERSION
    raise ResultError(f"{supported} {'Upgrade anomaly-bench to read it.' if newer else remedy}")


def parse_document(text: str, kind: type[D], path: Path, remedy: str) -> D:
    """The document of type `kind` that `text` holds; ResultError names `path`, what is wrong, and `remedy`."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ResultError(f"{path}: damaged JSON ({error}). {remedy}") from error
    _check_version(document, path, remedy)
    try:
        return kind.model_validate(document, strict=True)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}" for fault in error.errors()]
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ResultError(f"{path}: not a valid {kind.__name__} ({'; '.join(faults[:5])}{more}). {remedy}") from error


def read_document(path: Path, kind: type[D], remedy: str) -> D:
    """The document of type `kind` in the file `path`; ResultError when it is missing, damaged or of another version."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror}). {remedy}") from error
    except UnicodeDecodeError as error:
        raise ResultError(f"{path}: damaged JSON ({error}). {remedy}") from error
    return parse_document(text, kind, path, remedy)


def write_document(document: Document, path: Path) -> None:
    """Write `document` as strict JSON, whole or not at all: a temporary file in the same folder, fsync, rename."""
    try:
        text = json.dumps(document.model_dump(mode="json"), allow_nan=False, indent=1, ensure_ascii=False) + "\n"
    except ValueError as error:
        raise ResultError(f"{path}: not written, the document holds a non-finite number ({error}).") from error
    parse_document(text, type(document), path, "Not written: build it from finite numbers and JSON types.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
