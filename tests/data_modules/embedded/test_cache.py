"""ensure_embedded: written once, whole or not at all, and named after everything that decides its content."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import data_modules.embedded as embedded
from data_modules.base.atomic import publish
from data_modules.base.errors import DataError
from data_modules.embedded import EMBEDDED, embedded_digest, ensure_embedded
from data_modules.embedded.brain_anatomy import TEMPLATE_FILES


class FakeGenerator:
    """Stands in for a generator: one small file, and a count of its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, root: Path, *, subjects: int = 2, seed: int = 0, progress: object = None) -> None:
        self.calls += 1
        root.mkdir(parents=True)
        (root / "volume").write_text(f"{subjects} {seed}")


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> FakeGenerator:
    fake = FakeGenerator()
    monkeypatch.setitem(EMBEDDED, "tiny_brain", fake)
    return fake


def test_a_dataset_is_written_once_and_then_reused(tmp_path: Path, generator: FakeGenerator) -> None:
    first = ensure_embedded("tiny_brain", tmp_path)
    assert first == tmp_path / "embedded" / f"tiny_brain-{embedded_digest('tiny_brain')}"
    assert (first / "volume").read_text() == "2 0"
    assert ensure_embedded("tiny_brain", tmp_path) == first
    assert generator.calls == 1
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "volume").unlink(),
        lambda folder: (folder / "volume").write_text("2"),
        lambda folder: (folder / "volume").rename(folder / "moved"),
        lambda folder: (folder / "more").write_text("x"),
        lambda folder: (folder / ".manifest").unlink(),
        lambda folder: (folder / ".manifest").write_bytes(b""),
    ],
)
def test_a_folder_that_is_not_what_was_written_is_written_again(tmp_path, generator, damage) -> None:
    first = ensure_embedded("tiny_brain", tmp_path)
    damage(first)
    assert ensure_embedded("tiny_brain", tmp_path) == first
    assert sorted(path.name for path in first.iterdir()) == [".manifest", "volume"]
    assert (first / "volume").read_text() == "2 0"
    assert generator.calls == 2
    assert list(first.parent.iterdir()) == [first]


def test_the_real_generators_are_the_ones_named() -> None:
    assert {name: write.__name__ for name, write in EMBEDDED.items()} == {
        "tiny_brain": "write_tiny_brain",
        "tiny_texture": "write_tiny_texture",
    }
    assert all(path.is_file() for path in TEMPLATE_FILES)


def test_progress_reaches_the_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(root: Path, *, progress: embedded.Progress | None = None) -> None:
        root.mkdir()
        assert progress is not None
        progress(1, 1)

    seen: list[tuple[int, int]] = []
    monkeypatch.setitem(EMBEDDED, "tiny_texture", write)
    ensure_embedded("tiny_texture", tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]


def test_a_run_that_fails_leaves_no_dataset_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(root: Path, *, progress: object = None) -> None:
        root.mkdir()
        (root / "half").write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setitem(EMBEDDED, "tiny_brain", full_disk)
    with pytest.raises(OSError, match="no space left"):
        ensure_embedded("tiny_brain", tmp_path)
    assert list((tmp_path / "embedded").iterdir()) == []


def test_the_folder_of_a_process_that_was_faster_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(root: Path, *, progress: object = None) -> None:
        root.mkdir()
        (root / "volume").write_text("ours")
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        (theirs / "volume").write_text("theirs")
        publish(theirs, tmp_path / "embedded" / f"tiny_brain-{embedded_digest('tiny_brain')}")

    monkeypatch.setitem(EMBEDDED, "tiny_brain", slow)
    folder = ensure_embedded("tiny_brain", tmp_path)
    assert (folder / "volume").read_text() == "theirs"
    assert list(folder.parent.iterdir()) == [folder]


def test_of_first_uses_at_the_same_moment_one_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeGenerator()

    def slow(root: Path, *, progress: object = None) -> None:
        fake(root)
        time.sleep(0.3)

    monkeypatch.setitem(EMBEDDED, "tiny_brain", slow)
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: ensure_embedded("tiny_brain", tmp_path), range(3)))
    assert (fake.calls, folders) == (1, {tmp_path / "embedded" / f"tiny_brain-{embedded_digest('tiny_brain')}"})


def test_a_name_taken_by_a_file_is_an_error_not_a_dataset(tmp_path: Path, generator: FakeGenerator) -> None:
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / f"tiny_brain-{embedded_digest('tiny_brain')}").write_text("a file")
    with pytest.raises(OSError, match="tiny_brain"):
        ensure_embedded("tiny_brain", tmp_path)


def test_leftovers_of_a_killed_run_do_no_harm(tmp_path: Path, generator: FakeGenerator) -> None:
    leftover = tmp_path / "embedded" / f".tiny_brain-{embedded_digest('tiny_brain')}-abc" / "tiny_brain"
    leftover.mkdir(parents=True)
    (leftover / "volume").write_text("half")
    assert (ensure_embedded("tiny_brain", tmp_path) / "volume").read_text() == "2 0"


def test_the_digest_follows_parameters_assets_and_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [embedded_digest("tiny_brain"), embedded_digest("tiny_texture")]
    changed = tmp_path / "asset"
    changed.write_bytes(b"another template")
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "TEMPLATE_FILES", (changed,))
        digests.append(embedded_digest("tiny_brain"))
    with monkeypatch.context() as patch:
        edited = tmp_path / "embedded"
        shutil.copytree(embedded.ROOM, edited)
        patch.setattr(embedded, "ROOM", edited)
        assert embedded_digest("tiny_brain") == digests[0]
        (edited / "fields.py").write_text((edited / "fields.py").read_text() + "# edited")
        digests.append(embedded_digest("tiny_brain"))
    with monkeypatch.context() as patch:
        patch.setitem(EMBEDDED, "tiny_brain", FakeGenerator())
        digests.append(embedded_digest("tiny_brain"))
    assert len(set(digests)) == len(digests)
    assert embedded_digest("tiny_brain") == digests[0]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tinybrain", r"did you mean tiny_brain\?"),
        ("texture", r"did you mean tiny_texture\?"),
        ("", "there are tiny_brain, tiny_texture"),
    ],
)
def test_an_unknown_name_names_the_closest(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        ensure_embedded(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
