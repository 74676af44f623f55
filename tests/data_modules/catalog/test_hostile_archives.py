"""Archives that are wrong on purpose: one line, nothing outside the folder, and neither memory nor time without end."""

import gzip
import io
import itertools
import struct
import tarfile
import time
import tracemalloc
import zipfile

import pytest

from data_modules.base.errors import DataError, NoSpaceError
from data_modules.catalog import members as members_room
from data_modules.catalog.members import DamagedArchiveError
from data_modules.catalog.unpack import unpack

END = bytes(1024)


def header(name="a", kind=tarfile.REGTYPE, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padded(content):
    return content + bytes(-len(content) % 512)


def file(name, content=b"x"):
    return header(name, size=len(content)) + padded(content)


def pax(records, kind=tarfile.XHDTYPE):
    """A PAX header of bytes, or of {keyword: value} with the lengths that belong there."""
    if isinstance(records, dict):
        lines = []
        for key, value in records.items():
            rest = b" %s=%s\n" % (key.encode(), value.encode("utf-8", "surrogateescape"))
            size = len(rest) + len(str(len(rest) + 3))
            lines.append(str(size).encode() + rest)
        records = b"".join(lines)
    return header("pax", kind, len(records)) + padded(records)


def sized(name, size):
    """A header that states a size as base-256, which reaches below 0 and beyond 2**64."""
    block = bytearray(header(name))
    block[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


TARS = {
    "a PAX header of 2 GB": header("pax", tarfile.XHDTYPE, 2**31) + bytes(2**20) + END,
    "a PAX header of 20 MB that is there": pax(b"9" * 20_000_000) + file("a") + END,
    "a PAX header all digits": pax(b"9" * 16_000) + file("a") + END,
    "PAX headers one in another": pax(b"2 " * 8000 + b"=") * 200 + file("a") + END,
    "long names one in another": (header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 512) + b"n" * 512) * 5000 + END,
    "a long name of 8 GB": header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 8**11 - 1) + END,
    "200 global headers": pax({f"key{number}": "v" for number in range(200)}, tarfile.XGLTYPE) + file("a") + END,
    "an empty name": header("", size=1) + padded(b"x") + END,
    "a name of dots": file("./.") + END,
    "a newline in a name": pax({"path": "a\nb"}) + file("a") + END,
    "a NUL in a name": pax({"path": "a\0b"}) + file("a") + END,
    "an escape in a name": file("\x1b[2Jgone") + END,
    "a name of 5000 letters": pax({"path": "n" * 5000}) + file("a") + END,
    "200 folders in one another": pax({"path": "d/" * 200 + "a"}) + file("a") + END,
    "one name twice": file("a", b"one") + file("a", b"two") + END,
    "two names that differ by case": file("A.png") + file("a.png") + END,
    "two names that differ by Unicode form": pax({"path": "e\u0301"})
    + file("a")
    + pax({"path": "\xe9"})
    + file("b")
    + END,
    "sparse: a map of words": pax({"GNU.sparse.map": "x,y", "GNU.sparse.size": "5"}) + file("a") + END,
    "sparse: a map beyond the file": pax({"GNU.sparse.map": "0,9000", "GNU.sparse.size": "5"}) + file("a") + END,
    "sparse: a map that goes back": pax({"GNU.sparse.map": "9,1,0,1", "GNU.sparse.size": "9"}) + file("a") + END,
    "sparse: a negative size": pax({"GNU.sparse.map": "0,1", "GNU.sparse.size": "-5"}) + file("a") + END,
    "sparse: 9e18 bytes": pax({"GNU.sparse.map": "0,1", "GNU.sparse.realsize": "9" * 19}) + file("a") + END,
    "sparse: a map without end": pax(
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a", "GNU.sparse.realsize": "5"}
    )
    + header("a", size=2**20)
    + b"999999999\n"
    + b"0\n" * 500_000
    + END,
    "a size below zero": sized("a", -512) + END,
    "a size of 2**80": sized("a", 2**80) + END,
    "a PAX size that is none": pax({"size": "-1"}) + file("a") + END,
    "a link to a later member": header("a", tarfile.LNKTYPE, link="b") + file("b") + END,
    "a link to a folder": header("b", tarfile.DIRTYPE) + header("a", tarfile.LNKTYPE, link="b") + END,
    "two archives in one": file("a") + END + file("b") + END,
    "a bad header in the middle": file("a") + b"?" * 512 + file("b") + END,
    "cut between two members": file("a") + file("b"),
    "cut in a header": file("a") + file("b")[:100],
    "no file": header("folder", tarfile.DIRTYPE) + END,
}
LIMITS = {"seconds": 10.0, "bytes": 30e6}


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


@pytest.mark.parametrize("packing", ["tar", "tar.gz"])
@pytest.mark.parametrize("what", TARS)
def test_a_hostile_tar_is_one_line_in_bounded_time_and_memory(tmp_path, what, packing):
    path, folder = tmp_path / f"set.{packing}", tmp_path / "folder"
    path.write_bytes(gzip.compress(TARS[what], 1) if packing == "tar.gz" else TARS[what])
    folder.mkdir()
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(DataError) as error:
            unpack(path, folder, "set.tar")
        assert tracemalloc.get_traced_memory()[1] < LIMITS["bytes"]
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < LIMITS["seconds"]
    assert isinstance(error.value, DamagedArchiveError)
    assert "the disk has" not in one_line(error)


def test_five_thousand_chained_links_are_as_many_files_at_once(tmp_path):
    names = [f"{number}" for number in range(5000)]
    chain = [header(name, tarfile.LNKTYPE, link=before) for before, name in itertools.pairwise(names)]
    path, folder = tmp_path / "set.tar", tmp_path / "folder"
    path.write_bytes(file("0", b"one") + b"".join(chain) + END)
    folder.mkdir()
    start = time.process_time()
    unpack(path, folder, "x")
    assert time.process_time() - start < LIMITS["seconds"]
    assert (folder / "4999").read_bytes() == b"one"
    assert len(list(folder.iterdir())) == 5000


def zipped(members, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def patched(data, sign, offset, value):
    place = data.index(sign) + offset
    return data[:place] + value + data[place + len(value) :]


PLAIN = zipped([("a", b"x" * 100), ("b", b"y" * 100)])
ZIPS = {
    "an empty name": zipped([("", b"x")]),
    "a name of dots": zipped([("../..", b"x")]),
    "a newline in a name": zipped([("a\nb", b"x")]),
    "a name of 5000 letters": zipped([("n" * 5000, b"x")]),
    "two names that differ by case": zipped([("A", b"x"), ("a", b"y")]),
    "a line separator in a name": zipped([("a\u2028b", b"x")]),
    "a control character above 127": zipped([("a\x9b2Jb", b"x")]),
    "names that meet below the folder": zipped([("../a", b"x"), ("a", b"y")]),
    "a file that is a folder": zipped([("a", b"x"), ("a/b", b"y")]),
    "a size that lies": patched(PLAIN, b"PK\1\2", 24, struct.pack("<I", 50)),
    "a checksum that lies": patched(PLAIN, b"PK\1\2", 16, b"\0\0\0\0"),
    "an offset that lies": patched(PLAIN, b"PK\1\2", 42, struct.pack("<I", 2**31)),
    "a list of members of 4 GB": patched(PLAIN, b"PK\5\6", 12, struct.pack("<I", 2**32 - 2)),
    "another name in its header": patched(PLAIN, b"PK\3\4", 30, b"z"),
    "two archives in one": PLAIN + zipped([("c", b"z")]),
    "cut": PLAIN[:-30],
    "no file": zipped([]),
}


@pytest.mark.parametrize("what", ZIPS)
def test_a_hostile_zip_is_one_line(tmp_path, what):
    path, folder = tmp_path / "set.zip", tmp_path / "outer/folder"
    path.write_bytes(ZIPS[what])
    folder.mkdir(parents=True)
    with pytest.raises(DamagedArchiveError) as error:
        unpack(path, folder, "x")
    assert "the disk has" not in one_line(error)
    assert {entry.name for entry in tmp_path.iterdir()} == {"set.zip", "outer"}
    assert list(folder.parent.iterdir()) == [folder]


def test_a_zip_from_windows_has_its_folders(tmp_path):
    (tmp_path / "set.zip").write_bytes(zipped([("set\\deep\\a.png", b"one")]).replace(b"set/deep/a", b"set\\deep\\a"))
    folder = tmp_path / "folder"
    folder.mkdir()
    unpack(tmp_path / "set.zip", folder, "x")
    assert (folder / "set/deep/a.png").read_bytes() == b"one"


@pytest.mark.parametrize("packing", ["zip", "bz2 in zip", "lzma in zip", "tar", "gz", "padding"])
def test_a_bomb_does_not_go_off(tmp_path, monkeypatch, packing):
    """Much out of little is refused as such, whatever the disk would hold; little out of little is unpacked."""
    folder = tmp_path / "folder"
    folder.mkdir()
    zeros, path = bytes(2_000_000), tmp_path / "set"
    kinds = {"zip": zipfile.ZIP_DEFLATED, "bz2 in zip": zipfile.ZIP_BZIP2, "lzma in zip": zipfile.ZIP_LZMA}
    if packing in kinds:
        with zipfile.ZipFile(path, "w", kinds[packing]) as archive:
            archive.writestr("a", zeros)
    else:
        tars = {"tar": file("a", zeros) + END, "gz": zeros, "padding": file("a") + zeros}
        path.write_bytes(gzip.compress(tars[packing]))
    unpack(path, folder, "a")
    assert (folder / "a").read_bytes() == (b"x" if packing == "padding" else zeros)
    (folder / "a").unlink()
    monkeypatch.setattr(members_room, "PLENTY", 1_000_000)
    with pytest.raises(
        DamagedArchiveError, match=r"set: with .*, it unpacks to .* GB, too many for a file of \d+ bytes"
    ):
        unpack(path, folder, "a")


@pytest.mark.parametrize("packing", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_said_to_be(tmp_path, packing):
    twice = {"zip": zipped([("long.png", b"x"), ("long.png", b"y")]), "tar": file("long.png") * 2 + END}
    (tmp_path / "set").write_bytes(twice[packing])
    (tmp_path / "folder").mkdir()
    with pytest.raises(DamagedArchiveError, match=r"two members are called long\.png; it is refused"):
        unpack(tmp_path / "set", tmp_path / "folder", "x")


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(members_room, "MOST", 10)
    (tmp_path / "set.zip").write_bytes(zipped([(str(number), b"") for number in range(11)]))
    (tmp_path / "folder").mkdir()
    with pytest.raises(DamagedArchiveError, match="has more than 10 members"):
        unpack(tmp_path / "set.zip", tmp_path / "folder", "x")


def test_a_disk_that_does_not_hold_a_gz_is_the_disk_s_fault(tmp_path, monkeypatch):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(100_000)))
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10_000}))
    with pytest.raises(NoSpaceError, match="the disk has"):
        unpack(tmp_path / "a.gz", tmp_path / "folder", "a")


@pytest.mark.parametrize(
    ("start", "name"), [(b"7z\xbc\xaf'\x1c", "7z"), (b"Rar!\x1a", "rar"), (b"(\xb5/\xfd", "zst"), (b"LZIP\1", "lzip")]
)
def test_archives_that_only_a_person_can_unpack_are_named(tmp_path, start, name):
    (tmp_path / "set").write_bytes(start + bytes(2000))
    with pytest.raises(DataError, match=f"set: is a {name} archive; unpack it yourself") as error:
        unpack(tmp_path / "set", tmp_path, "x")
    assert not isinstance(error.value, DamagedArchiveError)


def test_a_gz_in_a_tar_s_name_that_holds_no_tar_is_damaged(tmp_path):
    (tmp_path / "set.tar.gz").write_bytes(gzip.compress(gzip.compress(file("a") + END)))
    with pytest.raises(DamagedArchiveError, match="there is no tar in it"):
        unpack(tmp_path / "set.tar.gz", tmp_path, "set.tar")
