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


def test_links_inside_become_copies(tmp_path, inner):
    links = [
        entry("set/deep/again", tarfile.SYMTYPE, "../a.txt"),
        entry("chain", tarfile.SYMTYPE, "set/deep/again"),
        entry("hard", tarfile.LNKTYPE, "set/a.txt"),
    ]
    unpack(tar(tmp_path / "t", [links[1], *FILES, links[0], links[2]]), inner, "x")
    assert content(inner) == {**WANTED, "set/deep/again": b"one", "chain": b"one", "hard": b"one"}
    assert not any(path.is_symlink() for path in inner.rglob("*"))
    assert (inner / "hard").stat().st_nlink == 1


@pytest.mark.parametrize(
    "member",
    [
        ("../evil", b"x"),
        ("set/../../evil", b"x"),
        ("/tmp/evil", b"x"),
        ("..\\evil", b"x"),
        ("C:\\evil", b"x"),
        ("C:evil", b"x"),
        entry("link", tarfile.SYMTYPE, "../../evil"),
        entry("set/link", tarfile.SYMTYPE, "../../evil"),
        entry("link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("link", tarfile.LNKTYPE, "../evil"),
        entry("link", tarfile.LNKTYPE, "/etc/passwd"),
        entry("../evil", tarfile.DIRTYPE),
    ],
)
def test_a_tar_that_leaves_the_folder_is_refused(tmp_path, inner, member):
    path = tar(tmp_path / "t.tar", [*FILES, member])
    with pytest.raises(DataError, match=r"t\.tar: its member .* would lie outside the folder"):
        unpack(path, inner, "x")
    assert set(content(tmp_path)) == {"t.tar", *(f"outer/inner/{name}" for name in WANTED)}


def test_a_link_that_later_members_would_go_through_leads_nowhere(tmp_path, inner):
    """Chained links that look harmless one by one: c → ../.. (the top), then z → c/../.. (outside)."""
    chain = [
        entry("a/b/c", tarfile.SYMTYPE, "../.."),
        entry("a/b/z", tarfile.SYMTYPE, "c/../.."),
        ("a/b/z/evil", b"x"),
    ]
    with pytest.raises(DataError):
        unpack(tar(tmp_path / "t.tar", chain), inner, "x")
    assert not any(path.name == "evil" for path in tmp_path.rglob("*") if inner not in path.parents)


@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/tmp/evil", "C:/evil"])
def test_a_zip_that_leaves_the_folder_is_refused(tmp_path, inner, name):
    with pytest.raises(DataError, match="would lie outside the folder"):
        unpack(zipped(tmp_path / "z.zip", [*FILES, (name, b"x")]), inner, "x")
    assert set(content(tmp_path)) == {"z.zip", *(f"outer/inner/{name}" for name in WANTED)}


def test_links_of_a_zip_are_followed_inside_and_refused_outside(tmp_path, inner):
    link = stat.S_IFLNK | 0o777
    with pytest.raises(DataError, match=r"link, a link to set/\.\./\.\./evil, would lie outside"):
        unpack(zipped(tmp_path / "z.zip", [("set/link", "../../evil")], link), inner, "x")
    with pytest.raises(DataError, match="link is a link to what is not a file of the archive"):
        unpack(zipped(tmp_path / "z.zip", [("link", "nowhere")], link), inner, "x")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path, inner, kind):
    with pytest.raises(DataError, match="dev is neither file, folder nor link"):
        unpack(tar(tmp_path / "t.tar", [entry("dev", kind)]), inner, "x")
    with pytest.raises(DataError, match="dev is neither file, folder nor link"):
        unpack(zipped(tmp_path / "z.zip", [("dev", b"")], stat.S_IFCHR | 0o600), inner, "x")


def test_a_loop_of_links_ends(tmp_path, inner):
    loop = [entry("a", tarfile.SYMTYPE, "b"), entry("b", tarfile.SYMTYPE, "a"), entry("c", tarfile.SYMTYPE, "c")]
    with pytest.raises(DataError, match="not a file of the archive"):
        unpack(tar(tmp_path / "t.tar", loop), inner, "x")
    with pytest.raises(DataError, match="not a file of the archive"):
        unpack(tar(tmp_path / "t.tar", [("a", b"x"), entry("a", tarfile.LNKTYPE, "a")]), inner, "x")


@pytest.mark.parametrize("packing", ["gz", "zip", "tar"])
def test_an_archive_bomb_stops_early(tmp_path, inner, monkeypatch, packing):
    monkeypatch.setattr(room, "ALWAYS_ALLOWED", 2**20)
    zeros = bytes(2**24)
    if packing == "gz":
        (tmp_path / "bomb").write_bytes(gzip.compress(zeros))
    elif packing == "zip":
        zipped(tmp_path / "bomb", [("zeros", zeros)])
    else:
        tar(tmp_path / "bomb", [("zeros", zeros)], "w:gz")
    with pytest.raises(DataError, match="more than 200 times its size"):
        unpack(tmp_path / "bomb", inner, "x")
    assert sum(map(len, content(inner).values())) < 2**23


def test_many_empty_files_are_counted(tmp_path, inner, monkeypatch):
    monkeypatch.setattr(room, "ALWAYS_ALLOWED", 2**16)
    monkeypatch.setattr(room, "MOST_RATIO", 1)
    with pytest.raises(DataError, match="times its size"):
        unpack(tar(tmp_path / "t.tar", [(f"{i}", b"") for i in range(100)], "w:gz"), inner, "x")


def test_a_full_disk_is_told_before_it_is_full(tmp_path, inner, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100_000}))
    with pytest.raises(DataError, match=r"t\.tar: the disk cannot hold what it unpacks to"):
        unpack(tar(tmp_path / "t.tar", [("big", bytes(200_000))]), inner, "x")


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
    with pytest.raises(DataError, match="a is encrypted; unpack it yourself"):
        unpack(path, inner, "x")
