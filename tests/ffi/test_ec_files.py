"""Files in bounded memory: what is written restores from any k fragments, and damage is found before it counts."""

from __future__ import annotations

import contextlib
import os
import struct
import tracemalloc
from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from city_chain import _native, ec
from city_chain.algorithms.ec import writing
from city_chain.algorithms.ec.layout import PAGE_ROWS, Header
from city_chain.algorithms.ec.reading import Source
from city_chain.errors import InputError, UnavailableError, VerificationError

pytestmark = pytest.mark.ffi

BLOCK = 64  # of every set that `place` makes


# --- any k restore ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "p"), [(1, 0), (1, 2), (2, 1), (3, 2), (4, 3)])
def test_every_set_of_survivors_restores_and_one_less_does_not(place: Any, k: int, p: int) -> None:
    made = place.encode(k=k, p=p)
    assert made.stripes > 1
    for count in range(k, made.n + 1):
        for kept in combinations(made.files, count):
            place.restores(kept)
    for kept in combinations(made.files, k - 1):
        if kept:
            error = place.fails(UnavailableError, kept, f"needed {k} fragments, had {k - 1}")
            assert isinstance(error, UnavailableError)
            assert (error.needed, error.had) == (k, k - 1)


@pytest.mark.parametrize("keep", [False, True])
def test_sizes_around_every_border(place: Any, keep: bool) -> None:
    stripe, page = 2 * BLOCK, 2 * BLOCK * PAGE_ROWS
    for near in (0, 2, BLOCK, stripe, 2 * stripe, page, page + stripe, 2 * page):
        for size in range(max(0, near - 2), near + 3):
            made = place.encode(size, 2, 2, keep_original=keep, force=True)
            assert (made.length, made.stripes) == (size, -(-size // stripe))
            assert all(path.stat().st_size == place.header(path).size for path in made.files)
            place.restores(made.files[-2:])
            place.restores(made.folder)
            assert ec.verify_file(made.folder, expected_root=made.root).whole


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 3000), st.booleans(), st.randoms(use_true_random=False))
def test_what_is_encoded_is_decoded(place: Any, k: int, p: int, size: int, keep: bool, draw: Random) -> None:
    made = place.encode(size, k, p, keep_original=keep and p > 0, force=True, block_len=64 * draw.randint(1, 3))
    original = None
    if keep and p > 0:
        for at in range(0, size, k * made.block_len):  # in some stripes one block, which one parity block makes good
            if draw.random() < 0.5:
                place.flip(place.file, min(size - 1, at + draw.randrange(k * made.block_len)))
        original = place.file
    kept = draw.sample(made.files, len(made.files)) if original else draw.sample(made.files, k)
    draw.shuffle(kept)
    place.restores(kept, original=original)
    place.file.write_bytes(place.data)


@pytest.mark.parametrize("code", ["rs16", "gf8", 1, 2])
def test_the_code_is_the_one_that_the_set_says(place: Any, code: str | int) -> None:
    made = place.encode(1000, code=code)
    assert made.code == {1: "rs16", 2: "gf8"}.get(code, code)  # type: ignore[call-overload]
    assert place.restores(made.files[2:]).made == 12
    assert ec.inspect_file(made.folder).code == made.code
    made.files[4].unlink()
    ec.rebuild_file(made.folder, sync=False)
    assert ec.verify_file(made.folder, expected_root=made.root).whole


def test_many_fragments(place: Any) -> None:
    for k, p, code in ((200, 56, "gf8"), (128, 128, "rs16"), (3, 70, "rs16")):
        made = place.encode(50_000, k, p, force=True)
        assert made.code == code
        place.restores(Random(k).sample(made.files, k))
    with pytest.raises(InputError, match="gf8"):
        place.encode(1000, 128, 128, force=True, code="gf8")


def test_an_empty_file(place: Any) -> None:
    made = place.encode(0)
    assert made.stripes == 0
    for path in made.files:
        place.restores(path)
    assert ec.verify_file(made.folder).state == "whole"


def test_fragments_in_other_places_under_other_names(place: Any) -> None:
    made = place.encode()
    paths: list[Path | str | bytes] = []
    for at, path in enumerate(made.files):
        other = place.folder / f"disk{at}" / ("a" if at == 2 else f"x{at}.ecf")
        other.parent.mkdir()
        path.rename(other)
        paths.append([other, str(other), os.fsencode(other), other.parent, str(other.parent)][at])
    place.restores(reversed(paths))
    place.restores(path for path in paths[:3])
    assert ec.verify_file(paths).whole


@pytest.mark.skipif(os.name == "nt", reason="names of POSIX")
@pytest.mark.parametrize("name", [b"x" * 255, b"\xff\xfe", "ключ\n".encode(), b"a\\b:c", b".hidden", b"-", b"a.ecf"])
def test_any_name(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"payload")
    made = ec.encode_file(path, k=2, p=1)
    path.unlink()
    assert ec.decode_file(made.folder, tmp_path).path == path
    assert path.read_bytes() == b"payload"


def test_what_is_returned_is_what_is_there(place: Any) -> None:
    told: list[int] = []
    made = place.encode(1000, on_progress=told.append)
    assert told == [192, 384, 576, 768, 960, 1000]
    assert (made.k, made.p, made.n, made.block_len, made.code) == (3, 2, 5, BLOCK, ec.code_for(3, 2)[0])
    assert sorted(made.folder.iterdir()) == list(made.files)
    assert made.folder == place.folder / "letter.txt.ec"
    report = ec.inspect_file(made.folder)
    assert (report.root, report.length, report.k, report.n, report.code) == (made.root, 1000, 3, 5, made.code)
    assert (report.name, report.stripes, report.least, report.lost) == ("letter.txt", 6, 5, None)
    assert report.good == 5
    assert report.problems == []
    restored = place.restores(made.files[1:4])
    assert (restored.root, restored.length, restored.made) == (made.root, 1000, 6)


def test_the_same_file_makes_the_same_fragments(place: Any) -> None:
    first = {path.name: path.read_bytes() for path in place.encode().files}
    assert {path.name: path.read_bytes() for path in place.encode(force=True).files} == first


@pytest.mark.parametrize("code", ["rs16", "gf8"])
def test_the_bytes_of_a_set_are_frozen(place: Any, code: str) -> None:
    place.file.write_bytes(bytes((7 * at + 1) & 255 for at in range(300)))
    made = ec.encode_file(place.file, k=2, p=1, block_len=BLOCK, code=code)
    assert made.code == code
    head = made.files[2].read_bytes()[:64].hex()
    assert head[:32] == "6369747965630d0a0100" + {"rs16": "01", "gf8": "02"}[code] + "0102000300"
    assert head[32:64] == "0200000a400000002c01000000000000"
    assert head[64:] == made.root.hex()
    files = [sha256(path.read_bytes()).hexdigest()[:16] for path in made.files]
    assert (made.root.hex(), files) == FROZEN[code]


FROZEN = {
    "gf8": (
        "3e62fff809a654e0589c37ca92bedf0b8cc44e2691802f3091d84f6eacbcc400",
        ["3f3dc3e61d31feaa", "e012d62658b7bdc5", "89251a34ed5d3d83"],
    ),
    "rs16": (
        "cf45460cd959654aeb46ba17559a69069a060df23f73d12d9c5a562f181d0b45",
        ["904867fa9307dd67", "5a00c2939ca810eb", "7549e3e40754d359"],
    ),
}


def test_the_format_is_what_its_page_says(place: Any) -> None:
    """A fragment file taken apart by hand, with nothing but a BLAKE3."""
    blake3 = _native.hash_fragment
    made = place.encode(2 * BLOCK * 70 + 5, 2, 1)
    files = [path.read_bytes() for path in made.files]
    table = b"".join(
        b"".join(blake3(one[-(70 * BLOCK + 4) :][at * BLOCK : (at + 1) * BLOCK]) for one in files) for at in range(71)
    )
    index = blake3(table[: 64 * 96]) + blake3(table[64 * 96 :])
    fixed = struct.pack("<8sHBBHHHBBIQ", b"cityec\r\n", 1, ec.code_for(2, 1)[1], 1, 2, 3, 0, 0, 10, BLOCK, 8965)
    name = b"letter.txt" + bytes(246)
    root = blake3(b"city-chain v1 ec file root" + bytes(6) + fixed + bytes(32) + name + index)
    assert made.root == root
    for at, data in enumerate(files):
        head = fixed[:16] + bytes([at, 0]) + fixed[18:] + root + name
        assert data.startswith(head + blake3(head) + index + table)
        assert len(data) == 320 + 32 + 64 + 71 * 96 + 70 * BLOCK + 4
    stripes = [place.data[at * 128 : (at + 1) * 128] for at in range(70)]
    assert files[0][-(70 * BLOCK + 4) :] == b"".join(one[:BLOCK] for one in stripes) + place.data[-5:-1]
    assert files[1][-(70 * BLOCK + 4) :] == b"".join(one[BLOCK:] for one in stripes) + place.data[-1:] + bytes(3)


# --- damage ----------------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_found_and_none_is_believed(place: Any) -> None:
    made = place.encode(200, 2, 1)
    victim = made.files[1]
    whole = victim.read_bytes()
    for at in range(len(whole)):
        place.flip(victim, at, 1 << at % 8)
        assert place.restores(made.folder).length == 200
        report = ec.inspect_file(made.folder)
        assert report.state == "degraded", at
        assert report.problems, at
        with contextlib.suppress(UnavailableError):  # needs the damaged one: the right bytes, or none
            place.restores(made.files[:2])
        victim.write_bytes(whole)


def test_every_truncation_and_every_extension_is_found(place: Any) -> None:
    made = place.encode(200, 2, 1)
    victim = made.files[0]
    whole = victim.read_bytes()
    for data in [*(whole[:size] for size in range(len(whole))), whole + b"\0", whole * 2]:
        victim.write_bytes(data)
        place.restores(made.folder)
        assert not ec.inspect_file(made.folder).whole
        with pytest.raises(VerificationError, match="of 3 fragments are good"):
            ec.verify_file(made.folder)
        assert ec.rebuild_file(made.folder, sync=False) == {0: victim}
        assert victim.read_bytes() == whole


def test_files_damaged_in_different_stripes_restore_each_other(place: Any) -> None:
    made = place.encode(4 * 3 * BLOCK, 3, 2)
    for at, path in enumerate(made.files):  # each in its own stripe, the first four stripes
        place.flip(path, place.header(path).blocks_at + BLOCK * (at % 4))
    place.restores(made.folder)
    report = ec.inspect_file(made.folder)
    assert (report.good, report.least, report.state) == (0, 3, "degraded")
    assert report.problems[1] == "fragment 1 damaged in 1 of 4 stripes (1)"
    assert report.problems[4] == "fragment 4 damaged in 1 of 4 stripes (0)"
    assert sorted(ec.rebuild_file(made.folder, sync=False)) == [0, 1, 2, 3, 4]
    assert ec.verify_file(made.folder, expected_root=made.root).whole


def test_a_stripe_that_is_lost_is_named_with_its_numbers(place: Any) -> None:
    made = place.encode(4 * 3 * BLOCK, 3, 2)
    for path in made.files[1:4]:
        place.flip(path, place.header(path).blocks_at + 2 * BLOCK + 5)
    said = r"letter.txt: stripe 2 of 4: needed 3 right blocks, had 2 \(missing or damaged: 1, 2, 3\)"
    error = place.fails(UnavailableError, made.folder, said)
    assert isinstance(error, UnavailableError)
    assert (error.needed, error.had) == (3, 2)
    report = ec.inspect_file(made.folder)
    assert (report.state, report.least, report.lost) == ("lost", 2, 2)
    for call in (ec.verify_file, ec.rebuild_file):
        before = place.names()
        with pytest.raises(UnavailableError, match="stripe 2 of 4: needed 3 right blocks, had 2"):
            call(made.folder)
        assert place.names() == before


def test_a_damaged_table_is_read_from_another_file(place: Any) -> None:
    made = place.encode(3 * BLOCK * PAGE_ROWS * 2 + 1, 3, 2)
    for at, path in enumerate(made.files[:4]):
        place.flip(path, place.header(path).table_at + (PAGE_ROWS * 32 * 5 if at % 2 else 0))
    place.restores(made.folder)
    assert "fragment 0 table damaged in 1 of 3 pages" in ec.inspect_file(made.folder).problems
    place.restores(made.files[:4])
    place.flip(made.files[4], place.header(made.files[4]).table_at)
    place.flip(made.files[1], place.header(made.files[1]).table_at)
    place.flip(made.files[3], place.header(made.files[3]).table_at)
    place.fails(VerificationError, made.folder, "page 0 of the table of hashes is damaged in every fragment file")


def test_a_damaged_index_or_header_leaves_the_others_in_use(place: Any) -> None:
    made = place.encode(1000)
    place.flip(made.files[0], 352)  # its index: the blocks can be used all the same
    assert place.restores(made.files[:3]).made == 0
    assert "fragment 0 index damaged" in ec.inspect_file(made.folder).problems
    place.flip(made.files[1], 30)  # its header: the file cannot
    place.restores(made.folder)
    place.fails(UnavailableError, made.files[:3], r"needed 3 fragments, had 2 .*001.ecf: the header is damaged")
    assert ec.rebuild_file(made.folder, sync=False) == {0: made.files[0], 1: made.files[1]}
    assert ec.verify_file(made.folder).whole


def test_copies_of_one_fragment_are_one_fragment(place: Any) -> None:
    made = place.encode()
    copies = []
    for at in range(3):
        copy = place.folder / f"copy{at}.ecf"
        copy.write_bytes(made.files[0].read_bytes())
        copies.append(copy)
    place.fails(UnavailableError, copies, "needed 3 fragments, had 1")
    place.flip(copies[0], place.header(copies[0]).blocks_at)
    place.restores([copies[0], made.files[3], made.files[4], copies[1]])
    report = ec.inspect_file([made.folder, copies[0]])
    assert report.good == 5
    assert report.problems == ["copy0.ecf: another copy of fragment 0, damaged in 1 of 3 stripes (0)"]
    assert not report.whole


def test_a_disk_that_cannot_be_read_is_a_damaged_block(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = place.encode()
    read = Source.block

    def failing(self: Source, header: Header, index: int, stripe: int) -> bytes:
        if self.path == made.files[1] and stripe == 1:
            raise OSError(5, "Input/output error")
        return read(self, header, index, stripe)

    monkeypatch.setattr(Source, "block", failing)
    assert place.restores(made.folder).made == 1
    assert ec.inspect_file(made.folder).problems == ["fragment 1 damaged in 1 of 3 stripes (1)"]


# --- hostile files ---------------------------------------------------------------------------------------------------


def forged(path: Path, **fields: object) -> None:
    """Writes a header anew, with a hash that fits."""
    data = path.read_bytes()
    header = replace(Header.from_bytes(data), **fields)  # type: ignore[arg-type]
    path.write_bytes(header.to_bytes() + data[352:])


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"length": 2**63}, "9223372036854775808 bytes"),
        ({"length": 2**64 - 1}, "18446744073709551615 bytes"),
        ({"length": 2**63 - 1, "block_len": 4 << 20}, "16777216 are allowed"),
        ({"n": 257}, "n <= 256"),
        ({"n": 65535, "k": 65535}, "n <= 256"),
        ({"k": 0}, "1 <= k <= n"),
        ({"k": 6}, "k <= n"),
        ({"index": 5}, "index < n"),
        ({"index": 65535}, "index < n"),
        ({"flags": 2}, "flags 2"),
        ({"flags": 1}, "flags 1"),
        ({"block_len": 0}, "multiple of 64"),
        ({"block_len": 63}, "multiple of 64"),
        ({"block_len": 2**32 - 64}, "at most 33554432"),
        ({"code": 0}, "code 0"),
        ({"code": 255}, "newer"),
        ({"name": b""}, "no name of a file"),
        ({"name": b".."}, "no name of a file"),
        ({"name": b"../../etc/passwd"}, "no name of a file"),
        ({"name": b"/etc/passwd"}, "no name of a file"),
        ({"name": b"a\0b"}, "no name of a file"),
    ],
)
def test_absurd_headers_are_refused(place: Any, fields: dict[str, object], match: str) -> None:
    made = place.encode()
    forged(made.files[0], **fields)
    place.fails(InputError, made.files[0], match)
    place.restores(made.folder)


@pytest.mark.parametrize(
    "fields", [{"length": (1 << 24) * 3 * BLOCK}, {"length": 3}, {"block_len": 128}, {"k": 2}, {"n": 6}, {"name": b"b"}]
)
def test_a_header_that_does_not_fit_its_root_is_not_believed(place: Any, fields: dict[str, object]) -> None:
    made = place.encode()
    forged(made.files[0], **fields)
    place.restores(made.folder)
    assert "its header does not fit its root" in ec.inspect_file(made.folder).problems[-1]
    place.fails(UnavailableError, made.files[0], "no fragment file has an undamaged index")
    for path in made.files[1:]:
        forged(path, **fields)
    place.fails(UnavailableError, made.folder, "no fragment file has an undamaged index")


def test_nothing_is_allocated_from_a_claim(place: Any) -> None:
    made = place.encode()
    header = replace(place.header(made.files[0]), length=(1 << 24) * 3 * BLOCK)
    for path in made.files[1:]:
        path.unlink()
    made.files[0].write_bytes(header.to_bytes() + bytes(10_000))
    tracemalloc.start()
    place.fails(UnavailableError, made.folder, "index")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_other_versions_and_other_files(place: Any) -> None:
    made = place.encode()
    path = made.files[0]
    data = bytearray(path.read_bytes())
    data[8:10] = b"\x02\x00"
    path.write_bytes(data)
    place.fails(InputError, path, "version 2; this city-chain reads version 1")
    for other in (b"", b"cityec", b"no fragment file at all" * 100, bytes(1000)):
        path.write_bytes(other)
        place.fails(InputError, path, "letter.txt.000.ecf: (no fragment file|the header is cut off)")
    path.write_bytes(bytes(data)[:20])
    path.unlink()
    path.mkdir()
    place.fails(InputError, path, "holds no fragment file")
    place.restores(made.files[1:])
    ec.inspect_file(made.files[1:])


def test_what_stands_after_the_name_is_nothing(place: Any) -> None:
    path = place.encode().files[0]
    data = bytearray(path.read_bytes())
    data[319] = 1
    data[320:352] = _native.hash_fragment(bytes(data[:320]))
    path.write_bytes(data)
    place.fails(InputError, path, "the name is not filled up with zeros")


def test_sets_of_two_files_are_not_mixed(place: Any) -> None:
    made = place.encode()
    other = place.folder / "other"
    other.write_bytes(b"other bytes" * 40)
    theirs = ec.encode_file(other, k=3, p=2, block_len=BLOCK)
    mixed = [*made.files[:3], *theirs.files[2:]]
    place.fails(InputError, mixed, "2 different encodings: letter.txt.000.ecf has the root")
    place.restores(mixed, expected_root=made.root)
    assert len(ec.inspect_file(mixed, expected_root=made.root).unreadable) == 3


def test_the_expected_root(place: Any) -> None:
    made = place.encode()
    place.restores(made.folder, expected_root=bytearray(made.root))
    wrong = bytes(32)
    for call in (ec.inspect_file, ec.verify_file, ec.rebuild_file):
        with pytest.raises(VerificationError, match="no fragment file has the root 00000000"):
            call(made.folder, expected_root=wrong)
    place.fails(VerificationError, made.folder, made.root.hex(), expected_root=wrong)
    place.fails(InputError, made.folder, "31 bytes, exactly 32", expected_root=made.root[1:])
    with pytest.raises(TypeError, match="expected_root"):
        ec.inspect_file(made.folder, expected_root=made.root.hex())  # type: ignore[arg-type]


def test_a_set_that_was_made_wrongly_is_never_restored_to_two_things(place: Any, monkeypatch: Any) -> None:
    """Whoever makes a set can hash parity that is no parity: restoring either gives the hashed data or fails."""

    class Lie:
        def __init__(self, *args: Any, **more: Any) -> None:
            made = _native.ec_encode(*args, **more)
            self.blocks = [*made.fragments[:3], *[bytes(len(one)) for one in made.fragments[3:]]]
            self.hashes = [_native.hash_fragment(bytes(block)) for block in self.blocks]

        def __getitem__(self, at: int) -> Any:
            return self.blocks[at]

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_native", SimpleNamespace(ec_encode=Lie, hash_fragment=_native.hash_fragment))
        made = place.encode()
    place.restores(made.folder)
    place.fails(VerificationError, made.files[1:4], "was not made by encoding one file")
    made.files[4].unlink()
    with pytest.raises(VerificationError, match="was not made by encoding one file"):
        ec.rebuild_file(made.folder)
    assert not made.files[4].exists()
