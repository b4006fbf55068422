"""verify and unpack against archives made to hurt: one sentence, and nothing written."""

import hashlib
import json
import stat
import struct
import warnings
import zlib
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aifarm.packages import Limits, PackageInvalid, pack_source, unpack, verify

CODE = b"x = 1\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest(files: dict[str, bytes], **fields) -> bytes:
    whole = {
        "format": 1,
        "name": "m",
        "version": "1",
        "kind": "declarative",
        "entry": "model.py",
        "files": {path: sha256(data) for path, data in files.items()},
        **fields,
    }
    return json.dumps(whole).encode()


def entry(name: str, mode: int = stat.S_IFREG | 0o644, method: int = ZIP_STORED) -> ZipInfo:
    info = ZipInfo("placeholder")
    info.filename = name  # past what the constructor cleans up
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def zipped(entries: list[tuple[ZipInfo | str, bytes]]) -> bytes:
    buffer = BytesIO()
    with warnings.catch_warnings(), ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # duplicate names
        for name, data in entries:
            archive.writestr(entry(name) if isinstance(name, str) else name, data)
    return buffer.getvalue()


def package(extra: list[tuple[ZipInfo | str, bytes]] = (), **fields) -> bytes:
    """A good package, plus `extra` entries that its manifest declares."""
    entries = [("model.py", CODE), *extra]
    declared = {info if isinstance(info, str) else info.filename: data for info, data in entries}
    return zipped([("aifarm.json", manifest(declared, **fields)), *entries])


def patched(archive: bytes, old: bytes, new: bytes) -> bytes:
    assert old in archive
    assert len(old) == len(new)
    return archive.replace(old, new)


def encrypted() -> bytes:
    archive = bytearray(package())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = archive.rindex(signature) + offset
        archive[at] |= 1
    return bytes(archive)


def lying_about_size() -> bytes:
    """The directory says that model.py has 3 bytes; its stream and its hash say 4 MiB."""
    bomb = bytes(4 << 20)
    archive = zipped(
        [
            (entry("model.py", method=ZIP_DEFLATED), bomb),
            ("aifarm.json", manifest({"model.py": bomb})),
        ]
    )
    return patched(archive, struct.pack("<L", len(bomb)), struct.pack("<L", 3))


def overlapping() -> bytes:
    """Two entries of the directory that name one stream."""
    one = zipped([("model.py", CODE), ("aifarm.json", manifest({"model.py": CODE, "m2.py": CODE}))])
    two = zipped([("m2.py", CODE)])
    end = one.index(b"PK\5\6")
    start = one.index(b"PK\1\2")
    second = two[two.index(b"PK\1\2") : two.index(b"PK\5\6")]
    directory = one[start:end] + second
    return (
        one[:start]
        + directory
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(directory), start, 0)
    )


def zip64_hidden() -> bytes:
    """A plain end record that covers 76 bytes, and a zip64 one, obeyed first, that covers all."""
    archive = package()
    end = archive.index(b"PK\5\6")
    entries, length, start = struct.unpack_from("<HLL", archive, end + 10)
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, length, start
    ) + struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    small = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, len(record), end, 0)
    return archive[:end] + record + small


def second_name() -> bytes:
    """A Unicode path extra field that renames model.py, as newer zipfile versions obey."""
    info = entry("model.py")
    body = struct.pack("<BL", 1, zlib.crc32(b"model.py")) + b"other.py"
    info.extra = struct.pack("<HH", 0x7075, len(body)) + body
    return zipped([("aifarm.json", manifest({"other.py": CODE}, entry="other.py")), (info, CODE)])


TRAVERSALS = [
    "../evil.py",
    "a/../../evil.py",
    "/tmp/evil.py",
    "//host/evil.py",
    "..\\evil.py",
    "a\\evil.py",
    "C:/evil.py",
    "C:evil.py",
    "a//evil.py",
    "./evil.py",
    "a/.",
    "folder/",
    "line\nbreak.py",
    "\x1bescape.py",
    "x" * 300,
    "/".join("x" * 40),
    "é" * 200 + "/" + "é" * 100,
]

MANIFEST = manifest({"model.py": CODE})

ATTACKS = {
    **{f"path {path!r:.20}": ("the path", package([(path, b"evil")])) for path in TRAVERSALS},
    "nul": (
        "control character",
        patched(package([("evilXtxt.py", b"")]), b"evilXtxt.py", b"evil\0txt.py"),
    ),
    "link": ("is a link", package([(entry("evil.py", stat.S_IFLNK | 0o777), b"/etc/passwd")])),
    "device": ("a device", package([(entry("evil.py", stat.S_IFCHR | 0o666), b"")])),
    "pipe": ("a device", package([(entry("evil.py", stat.S_IFIFO | 0o666), b"")])),
    "folder by mode": ("a folder", package([(entry("evil", stat.S_IFDIR | 0o755), b"")])),
    "duplicate": ("two entries", package([("evil.py", b"good"), ("evil.py", b"evil")])),
    "duplicate manifest": ("two entries", package([("aifarm.json", b"{}")])),
    "case duplicate": ("one file on some", package([("MODEL.py", b"evil")])),
    "case duplicate of the manifest": ("one file on some", package([("AIFARM.json", b"{}")])),
    "composition duplicate": ("one file on some", package([("\u00e9", b""), ("e\u0301", b"")])),
    "file and folder": ("as a file and as", package([("evil", b""), ("evil/x.py", b"")])),
    "file and folder in other case": ("as a file and", package([("evil", b""), ("EVIL/x", b"")])),
    "folder of the manifest": ("as a file and", package([("aifarm.json/x.py", b"")])),
    "undeclared": (
        "does not declare 'evil.py'",
        zipped([("aifarm.json", MANIFEST), ("model.py", CODE), ("evil.py", b"")]),
    ),
    "missing": (
        "lacks the declared file 'x.py'",
        zipped([("aifarm.json", manifest({"model.py": CODE, "x.py": b""})), ("model.py", CODE)]),
    ),
    "other content": (
        "declared sha256",
        zipped([("aifarm.json", MANIFEST), ("model.py", b"evil")]),
    ),
    "entry not there": ("no file 'train.py'", package(entry="train.py")),
    "no manifest": ("no aifarm.json", zipped([("model.py", CODE)])),
    "manifest not json": ("Not valid JSON", zipped([("aifarm.json", b"{")])),
    "manifest not utf8": ("not valid", zipped([("aifarm.json", b'{"format":"\xff"}')])),
    "manifest deep": ("deeper", zipped([("aifarm.json", b"[" * 100_000)])),
    "manifest of a later format": ("update aifarm", package(format=2)),
    "manifest with a bad name": ("`name`", package(name="../m")),
    "manifest with a bad kind": ("`kind`", package(kind="pickle")),
    "manifest huge": (
        "larger than",
        zipped(
            [
                (entry("aifarm.json", method=ZIP_DEFLATED), MANIFEST + b" " * (9 << 20)),
                ("model.py", CODE),
            ]
        ),
    ),
    "encrypted": ("entry 'model.py' is encrypted", encrypted()),
    "bzip2": ("neither stored", package([(entry("evil.py", method=ZIP_BZIP2), b"x" * 100)])),
    "ratio bomb": (
        "100 times its own size",
        package([(entry("evil.py", method=ZIP_DEFLATED), bytes(4 << 20))]),
    ),
    "size in header": ("damaged", lying_about_size()),
    "overlap": ("damaged", overlapping()),
    "zip64": ("plain zip", zip64_hidden()),
    # Before Python obeyed that extra field, the entry is simply not the declared one.
    "second name": ("a second name|does not declare", second_name()),
    "not a zip": ("plain zip", b"#!/bin/sh\n"),
    "empty": ("plain zip", b""),
    "empty zip": ("no aifarm.json", zipped([])),
    "script before the zip": ("plain zip", b"#!/bin/sh\n" + package()),
    "bytes after the zip": ("plain zip", package() + b"evil"),
    "cut": ("plain zip", package()[:-30]),
}


@pytest.mark.parametrize(("sentence", "attack"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_refused_in_one_sentence_and_nothing_is_written(sentence, attack, tmp_path):
    archive = tmp_path / "evil.zip"
    archive.write_bytes(attack)
    inside = tmp_path / "x" / "y"
    inside.mkdir(parents=True)
    for refused in (
        lambda: verify(attack),
        lambda: verify(archive, sha256(attack)),
        lambda: unpack(archive, inside / "out", sha256(attack)),
    ):
        with pytest.raises(PackageInvalid, match=sentence) as refusal:
            refused()
        assert str(refusal.value).startswith("The package")
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 400
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.zip", "x", "y"]


def test_the_package_that_the_attacks_are_made_from_is_good():
    assert verify(package([("sub/other.py", b"fine")])).entry == "model.py"


def test_a_deflated_package_made_by_another_tool_is_good():
    code = b"import torch\n" * 50
    info = entry("model.py", mode=0, method=ZIP_DEFLATED)
    archive = zipped([("aifarm.json", manifest({"model.py": code})), (info, code)])
    assert verify(archive).files == {"model.py": sha256(code)}


def test_fields_of_a_later_version_are_ignored():
    assert verify(package(signature="abc")).name == "m"


def test_the_wrong_hash_is_named():
    with pytest.raises(PackageInvalid, match="not the expected 0000"):
        verify(package(), "0" * 64)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(files=2), "more than 2 files"),
        (Limits(archive=300), "more than the 300 allowed"),
        (Limits(unpacked=2000), "2000 bytes allowed"),
        (Limits(ratio=1), "1 times its own size"),
    ],
)
def test_each_limit_holds(limits, sentence):
    extra = [(entry(f"{n}.py", method=ZIP_DEFLATED), bytes([n]) * 1500) for n in range(2)]
    assert verify(package(extra))
    with pytest.raises(PackageInvalid, match=sentence):
        verify(package(extra), limits=limits)


def test_a_directory_of_many_entries_is_refused_before_it_is_parsed(monkeypatch):
    archive = zipped([(f"{n}", b"") for n in range(10_002)])
    monkeypatch.setattr("aifarm.packages.archive.ZipFile", None)
    with pytest.raises(PackageInvalid, match="more than 10000 files"):
        verify(archive)


GOOD = pack_source("x = 1\n" * 20, "m", "1", defaults={"lr": 0.1})


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_a_damaged_archive_is_refused_or_harmless(changes):
    damaged = bytearray(GOOD)
    for at, value in changes:
        damaged[at] = value
    try:
        found = verify(bytes(damaged))
    except PackageInvalid:
        return
    assert found.files.keys() == {found.entry}


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_end_in_a_manifest_or_a_sentence(noise, cut):
    for data in (noise, GOOD[:cut] + noise, noise + GOOD[-cut:]):
        if data != GOOD:
            with pytest.raises(PackageInvalid):
                verify(data)
