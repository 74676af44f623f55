"""YAML of users that no library ends to read, or ends with a traceback, is one line that names the file or the option."""

import pytest

from data_modules.base.errors import ConfigError
from data_modules.base.options.compose import compose_dataset
from data_modules.base.options.folders import CONFIG_DIR_VARIABLE, options_of

LAUGHS = "a: &a [x, x]\n" + "".join(f"k{at}: &k{at} [{', '.join([f'*k{at - 1}'] * 10)}]\n" for at in range(1, 9))
BAD_YAML = {
    "aliases of aliases": LAUGHS.replace("a: &a", "k0: &k0"),
    "an alias of itself": "kind: &a [*a]",
    "lists in lists": "kind: " + "[" * 5000,
    "mappings in mappings": "".join(" " * at + "a:\n" for at in range(500)),
    "a tag of Python": "kind: !!python/object/apply:os.system ['true']",
    "a key that is a list": "? [a, b]\n: c",
    "a key that is null": "null: 2",
    "a set": "kind: !!set {a, b}",
    "5000 digits": f"kind: pictures\nsize: [{'9' * 5000}, 3]",
    "a number without digits": "kind: 0x_",
    "a value that is itself": "kind: ${dataset.kind}",
    "a value of a key that is not there": "kind: ${nope.x}",
    "half a reference": "kind: ${a",
    "defaults that are a text": "defaults: folder",
    "defaults that are numbers": "defaults: [1]",
    "defaults of itself": "defaults: [folder, my]",
    "Latin-1": "kind: t\xe4".encode("latin-1"),
    "UTF-16": "kind: pictures".encode("utf-16"),
}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "dataset").mkdir()
    monkeypatch.setenv(CONFIG_DIR_VARIABLE, str(tmp_path))
    return tmp_path / "dataset/my.yaml"


@pytest.mark.parametrize("what", BAD_YAML)
def test_yaml_that_cannot_be_meant_is_one_line(mine, what):
    content = BAD_YAML[what]
    mine.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=r"my\.yaml|dataset=my|dataset\.kind") as error:
        compose_dataset("my", 0)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 700


def test_a_folder_called_like_an_option_is_none(mine):
    mine.mkdir()
    assert "my" not in options_of("dataset")
    assert "tiny_brain" in options_of("dataset")
