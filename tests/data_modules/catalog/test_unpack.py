import gzip
import io
import random
import stat
import tarfile
import zipfile

import pytest

from data_modules.base.errors import DataError
from data_modules.catalog import unpack as room
from data_modules.catalog.unpack import unpack


def tar(path, members, mode="w"):
    """A tar of (name, content) or of TarInfo for whatever is no plain file."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def entry(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped(path, members, mode=0):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def inner(tmp_path):
    """The folder to unpack into, with room around it to escape to."""
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    return folder


FILES = [("./set/a.txt", b"one"), ("set/deep/b.txt", b"two"), ("set/empty", b"")]
WANTED = {"set/a.txt": b"one", "set/deep/b.txt": b"two", "set/empty": b""}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_tar_is_told_by_its_content(tmp_path, inner, mode):
    unpack(tar(tmp_path / "download", FILES, mode), inner, "x")
    assert content(inner) == WANTED


def test_a_zip_and_a_single_gz_are_told_by_their_content(tmp_path, inner):
    unpack(zipped(tmp_path / "download", FILES), inner, "x")
    assert content(inner) == WANTED
    (tmp_path / "single").write_bytes(gzip.compress(b"three"))
    unpack(tmp_path / "single", inner, "c.csv")
    assert (inner / "c.csv").read_bytes() == b"three"


def test_files_of_macos_are_left_out(tmp_path, inner):
    clutter = [("set/._a.txt", b"x"), ("__MACOSX/set/a.txt", b"x"), ("set/.DS_Store", b"x")]
    unpack(zipped(tmp_path / "z", FILES + clutter), inner, "x")
    assert content(inner) == WANTED


def test_hard_links_of_a_tar_are_followed(tmp_path, inner):
    hard, itself = (entry(name, tarfile.LNKTYPE, "set/a.txt") for name in ("hard", "set/a.txt"))
    unpack(tar(tmp_path / "t", [*FILES, hard, itself]), inner, "x")
    assert content(inner) == {**WANTED, "hard": b"one"}


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", b"x"),
        ("set/../../evil", b"x"),
        entry("link", tarfile.LNKTYPE, "../evil"),
        entry("link", tarfile.LNKTYPE, "/etc/passwd"),
        entry("../evil", tarfile.DIRTYPE),
        entry("dev", tarfile.CHRTYPE),
        entry("dev", tarfile.BLKTYPE),
        entry("dev", tarfile.FIFOTYPE),
    ],
)
def test_a_tar_that_leaves_the_folder_or_holds_devices_is_refused(tmp_path, inner, member):
    path = tar(tmp_path / "t.tar", [*FILES, member])
    with pytest.raises(DataError, match=r"t\.tar: its member '.*; it is refused, do not trust it"):
        unpack(path, inner, "x")
    assert set(content(tmp_path)) == {"t.tar", *(f"outer/inner/{name}" for name in WANTED)}


def test_absolute_names_are_unpacked_below_the_folder(tmp_path, inner):
    unpack(tar(tmp_path / "t.tar", [("/tmp/evil", b"x")]), inner, "x")
    assert content(inner) == {"tmp/evil": b"x"}


@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/evil", "//../evil"])
def test_no_name_in_a_zip_leads_out_of_the_folder(tmp_path, inner, name):
    unpack(zipped(tmp_path / "z.zip", [*FILES, (name, b"x")]), inner, "x")
    assert content(inner).items() > WANTED.items()
    assert set(content(tmp_path)) == {"z.zip", *(f"outer/inner/{name}" for name in content(inner))}
    assert [path.read_bytes() for path in inner.rglob("evil")] == [b"x"]


@pytest.mark.parametrize(
    "member",
    [entry("set/link", tarfile.SYMTYPE, link) for link in ("a.txt", "../../evil", "/etc/passwd", "nowhere", "link")],
)
def test_symbolic_links_are_refused(tmp_path, inner, member):
    with pytest.raises(DataError, match=r"t\.tar: its member set/link is a link or a device, no file"):
        unpack(tar(tmp_path / "t.tar", [*FILES, member]), inner, "x")
    link = stat.S_IFLNK | 0o777
    with pytest.raises(DataError, match=r"z\.zip: its member set/link is a link or a device, no file"):
        unpack(zipped(tmp_path / "z.zip", [("set/link", member.linkname)], link), inner, "x")
    assert not any(path.is_symlink() for path in inner.rglob("*"))


def test_a_device_in_a_zip_is_refused(tmp_path, inner):
    with pytest.raises(DataError, match="dev is a link or a device, no file"):
        unpack(zipped(tmp_path / "z.zip", [("dev", b"")], stat.S_IFCHR | 0o600), inner, "x")


def test_a_link_that_later_members_would_go_through_leads_nowhere(tmp_path, inner):
    """Chained links that look harmless one by one: c → ../.. (the top), then z → c/../.. (outside)."""
    chain = [
        entry("a/b/c", tarfile.SYMTYPE, "../.."),
        entry("a/b/z", tarfile.SYMTYPE, "c/../.."),
        ("a/b/z/evil", b"x"),
    ]
    with pytest.raises(DataError):
        unpack(tar(tmp_path / "t.tar", chain), inner, "x")
    assert not any(path.name == "evil" for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "members",
    [
        [("a", b"x"), ("a/b", b"x")],
        [("a/b", b"x"), ("a", b"x")],
        [entry("a", tarfile.LNKTYPE, "nowhere")],
    ],
    ids=["a folder that is a file", "a file that is a folder", "a link to nothing"],
)
def test_a_tar_that_contradicts_itself_is_damaged(tmp_path, inner, members):
    with pytest.raises(room.DamagedArchiveError, match=r"t\.tar: is damaged"):
        unpack(tar(tmp_path / "t.tar", members), inner, "x")


@pytest.mark.parametrize("packing", ["zip", "tar"])
def test_a_member_for_which_the_disk_is_too_small_is_not_begun(tmp_path, inner, monkeypatch, packing):
    files = [("small", bytes(1000)), ("big", bytes(200_000))]
    path = zipped(tmp_path / "z", files) if packing == "zip" else tar(tmp_path / "t", files)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100_000}))
    with pytest.raises(DataError, match=r"big of [zt] needs 0\.00 GB, the disk has 0\.00 GB free; free some"):
        unpack(path, inner, "x")
    assert content(inner) == {"small": bytes(1000)}


def test_a_python_without_the_filter_unpacks_no_tar(tmp_path, inner, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(DataError, match=r"t\.tar: a tar is unpacked by Python 3\.11\.4 or later"):
        unpack(tar(tmp_path / "t.tar", FILES), inner, "x")
    assert content(inner) == {}


@pytest.mark.parametrize("packing", ["gz", "zip", "tar", "xz"])
def test_a_cut_archive_is_damaged(tmp_path, inner, packing):
    noise = random.Random(0).randbytes(60_000)
    path = tmp_path / "cut"
    if packing == "gz":
        path.write_bytes(gzip.compress(noise))
    elif packing == "zip":
        zipped(path, [("noise", noise)])
    else:
        tar(path, [("noise", noise)], {"tar": "w", "xz": "w:xz"}[packing])
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises(room.DamagedArchiveError, match="cut: is damaged"):
        unpack(path, inner, "x")


def test_what_is_no_archive_says_how_to_keep_it(tmp_path, inner):
    (tmp_path / "page.zip").write_text("<html>log in</html>")
    with pytest.raises(room.DamagedArchiveError, match=r"page\.zip: is no tar, zip or gz, .*set unpack: false"):
        unpack(tmp_path / "page.zip", inner, "x")


def test_an_encrypted_zip_is_told(tmp_path, inner):
    path = zipped(tmp_path / "z.zip", [("a", b"x")])
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="its member a is encrypted; unpack it yourself"):
        unpack(path, inner, "x")
