"""What is written as JSON: strict, with a schema version, whole or not at all, and every damage named."""

import errno
import json
import math
import os
import re
import stat
import uuid
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import msgspec

SCHEMA_VERSION: Final = 1
LARGEST = 2**28  # bytes
UNKNOWN = "…"  # in a place, the key that is not known
FOREIGN = "Another version of anomaly-bench wrote the key, or a hand: take it out, or use that version; all else is as it was."


class ResultError(ValueError):
    """A result, sweep or baseline that cannot be used; the message names the file or folder and the remedy."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of all that is written as JSON: immutable, unknown keys rejected.

    Types, ranges and `__post_init__` are checked where JSON is read, and so is what is about to be written; the
    constructor checks `__post_init__` alone. None of it is ever part of a reference cycle.
    """


class Document(Record, frozen=True, tag_field="schema_version", tag=SCHEMA_VERSION):
    """Base of what has a file of its own: its first key is the schema version."""


class _OtherVersion(msgspec.Struct, tag_field="schema_version", tag=0):
    """Beside it a document has to say its version: a single type would be accepted without."""


D = TypeVar("D", bound=Document)


def parse_document(data: bytes, kind: type[D], path: Path, remedy: str) -> D:
    """The document of type `kind` that `data` holds; ResultError names `path`, what is wrong, and `remedy`."""
    try:
        try:
            document = _decoder(kind).decode(data)
        except ValueError as error:
            _explain(data, str(error), kind, path, remedy)
        if not isinstance(document, kind) or _repeats_a_key(data):
            _explain(data, "another version", kind, path, remedy)
    except RecursionError:
        raise ResultError(f"{path}: damaged JSON (nested too deeply). {remedy}") from None
    return document


def read_document(path: Path, kind: type[D], remedy: str) -> D:
    """The document of type `kind` in the file `path`; ResultError when it is missing, damaged or of another version."""
    try:
        data = regular(path).read_bytes()
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror}). {remedy}") from error
    return parse_document(data, kind, path, remedy)


def regular(path: Path) -> Path:
    """The path. Raises OSError for a pipe or a device, which may have no end, and a file that is too large for a record."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a folder is named where it is read
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
    if status.st_size > LARGEST:
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, more than the {LARGEST} that are read")
    return path


def write_document(document: Document, path: Path) -> None:
    """Write `document` as strict JSON, whole or not at all: a temporary file in the same folder, fsync, rename.

    ResultError when it would not be read back as it is.
    """
    try:
        _check_json(document)
    except ValueError as error:
        raise ResultError(f"{path}: not written, {error}.") from error
    content = msgspec.to_builtins(document, enc_hook=_native)
    remedy = "Not written: build it from values of the types it declares."
    read_back = parse_document(
        json.dumps(content).encode(), type(document), path, remedy
    )  # 4 is 4.0 where a float belongs
    text = json.dumps(msgspec.to_builtins(read_back), indent=1, ensure_ascii=False) + "\n"
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


@cache
def _decoder(kind: type[Document]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind | _OtherVersion)


def _repeats_a_key(data: bytes) -> bool:
    """Whether something is lost by reading valid JSON, which keeps the last of two entries of a key: quotation marks."""
    return data.count(b'"') != msgspec.json.encode(msgspec.json.decode(data)).count(b'"')


def _explain(data: bytes, fault: str, kind: type[Document], path: Path, remedy: str) -> NoReturn:
    """Raise the ResultError of data that is no document of type `kind`: damaged, of another version, or not valid."""
    try:
        content = json.loads(data.decode(), parse_constant=_refuse_constant, object_pairs_hook=_each_once)
    except ValueError as error:
        raise ResultError(f"{path}: damaged JSON ({error}). {remedy}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION or type(version) is not int:
        supported = f"{path}: its schema version is {version!r}; this anomaly-bench supports version {SCHEMA_VERSION}."
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise ResultError(f"{supported} {'Upgrade anomaly-bench to read it.' if newer else remedy}")
    if "unknown field" in fault:
        remedy = FOREIGN
    raise ResultError(f"{path}: not a valid {kind.__name__} ({_placed(fault, content, kind)}). {remedy}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not strict JSON")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!a} is there twice")
    return entries


def _placed(fault: str, content: Any, kind: type[Document]) -> str:
    """msgspec's `Expected … - at `$.predictors[...].test`` as `predictors.grad_kl.test: Expected …`."""
    message, _, place = fault.partition(" - at `$")
    steps: list[str] = []
    for field, entry in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", place):
        step = _culprit(content, steps, kind, fault) if entry == "..." else field or entry
        steps.append(step)
        if step == UNKNOWN:  # what lies below it cannot be found either
            break
    return f"{'.'.join(steps) or 'document'}: {message}"


def _culprit(content: Any, steps: list[str], kind: type[Document], fault: str) -> str:
    """The key of the dict at `steps` whose value has the fault: the one that has it without the others, which it loses."""
    entries = content
    for step in steps:
        entries = entries[int(step) if isinstance(entries, list) else step]
    every: dict[str, Any] = dict(entries)
    for key, value in every.items():
        entries.clear()
        entries[key] = value
        try:
            msgspec.convert(content, kind)
        except ValueError as error:
            if str(error) == fault:
                return str(key)
    entries.update(every)
    return UNKNOWN


def _native(value: Any) -> float | int | str:
    """A number or text of a subclass, such as NumPy's float, as what it is a subclass of."""
    return next(kind(value) for kind in (float, int, str) if isinstance(value, kind))


def _check_json(content: Any, where: str = "") -> None:
    """ValueError names the first entry that JSON would refuse, or give back as something else."""
    if isinstance(content, msgspec.Struct):
        content = msgspec.structs.asdict(content)
    if isinstance(content, dict):
        for key, entry in content.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r}; expected a string")
            _check_json(entry, f"{where}.{key}".lstrip("."))
    elif isinstance(content, list):
        for index, entry in enumerate(content):
            _check_json(entry, f"{where}.{index}")
    elif isinstance(content, float):
        if not math.isfinite(content):
            raise ValueError(f"{where} is {content}; expected a finite number")
    elif content is not None and not isinstance(content, str | int):
        raise ValueError(f"{where} is a {type(content).__name__}; expected a JSON type (a tuple becomes a list)")
