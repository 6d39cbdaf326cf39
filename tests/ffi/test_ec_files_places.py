"""Files of fragments where they lie: beside the original, whole or not at all, in memory that does not grow."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from city_chain import ec
from city_chain.algorithms.ec.overlap import ahead
from city_chain.errors import InputError, StorageError, UnavailableError, VerificationError

pytestmark = pytest.mark.ffi

BLOCK = 64  # of every set that `place` makes


# --- the original as a source ----------------------------------------------------------------------------------------


def test_parity_beside_the_original(place: Any) -> None:
    made = place.encode(2000, 3, 2, keep_original=True)
    assert [path.name[-8:] for path in made.files] == [".003.ecf", ".004.ecf"]
    for path in made.files:  # any one tells whether the original is right
        assert ec.inspect_file(path).fragments[0].good
        assert ec.inspect_file(path).state == "degraded"
    assert ec.verify_file(made.folder).whole
    place.flip(place.file, 0)
    place.flip(place.file, 3 * BLOCK + 2)
    place.flip(place.file, 3 * BLOCK + BLOCK + 2)
    assert place.restores(made.folder).made == 3
    report = ec.inspect_file(made.folder)
    assert (report.good, report.least) == (3, 3)
    assert report.fragments[0].path == place.file
    assert report.problems[0] == "fragment 0 damaged in 2 of 11 stripes (0, 1)"
    with pytest.raises(VerificationError, match="if it was changed on purpose encode it again"):
        ec.rebuild_file(made.folder)
    assert ec.rebuild_file(made.folder, force=True) == {0: place.file}
    assert place.file.read_bytes() == place.data


def test_an_original_that_is_shorter_longer_or_gone(place: Any) -> None:
    made = place.encode(1000, 2, 2, keep_original=True)
    for data, problem in (
        (place.data[:-1], "has 999 bytes, was encoded 1000, damaged in 1 of 8 stripes (7)"),
        (place.data + b"x", "has 1001 bytes, was encoded 1000"),
        (place.data[:100], "has 100 bytes"),
        (b"", "has 0 bytes"),
    ):
        place.file.write_bytes(data)
        place.restores(made.folder)
        assert any(problem in found for found in ec.inspect_file(made.folder).problems)
        assert ec.rebuild_file(made.folder, force=True) == {0: place.file}
        assert place.file.read_bytes() == place.data
    place.file.unlink()
    made.files[0].unlink()
    place.fails(UnavailableError, made.folder, "needed 2 fragments, had 1")
    place.file.write_bytes(place.data)
    assert ec.rebuild_file(made.folder) == {2: made.files[0]}
    elsewhere = place.folder / "elsewhere"
    place.file.rename(elsewhere)
    assert ec.verify_file(made.folder, original=elsewhere).whole
    elsewhere.unlink()
    with pytest.raises(UnavailableError, match="needed 2 right blocks, had 1"):
        ec.verify_file(made.files[0], original=elsewhere)
    assert ec.rebuild_file(made.folder, original=elsewhere, force=True) == {0: elsewhere}
    assert elsewhere.read_bytes() == place.data
    assert ec.decode_file(made.folder, place.folder).path == place.file
    assert place.file.read_bytes() == place.data


def test_the_original_helps_any_set(place: Any) -> None:
    made = place.encode(1000)
    for path in made.files[1:]:
        path.unlink()
    assert ec.rebuild_file(made.folder, original=place.file, sync=False) == dict(enumerate(made.files[1:], 1))
    assert ec.verify_file(made.folder).whole


# --- whole or not at all ---------------------------------------------------------------------------------------------


class Stop(BaseException):
    """As Ctrl-C."""


def stop_after(calls: int) -> Callable[[int], None]:
    def tell(_: int) -> None:
        nonlocal calls
        calls -= 1
        if not calls:
            raise Stop

    return tell


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_what_is_interrupted_leaves_nothing(place: Any, calls: int) -> None:
    place.encode(1000, folder=place.folder / "kept")
    before = place.names()
    with pytest.raises(Stop):
        place.encode(1000, on_progress=stop_after(calls))
    assert place.names() == before
    with pytest.raises(Stop):
        ec.decode_file(place.folder / "kept", place.folder / "out", on_progress=stop_after(calls))
    (place.folder / "kept" / "letter.txt.001.ecf").unlink()
    before = place.names()
    with pytest.raises(Stop):
        ec.rebuild_file(place.folder / "kept", on_progress=stop_after(calls + 6))
    assert place.names() == before


@pytest.mark.parametrize("change", [b"longer", b""])
def test_a_file_that_changes_meanwhile_is_noticed(place: Any, change: bytes) -> None:
    def meddle(done: int) -> None:
        if done == 192:
            place.file.write_bytes(place.data + change if change else place.data[:300])

    with pytest.raises(StorageError, match=r"letter.txt changed while it was read"):
        place.encode(4000, on_progress=meddle)
    assert place.names() == ["letter.txt"]


def test_a_change_that_keeps_the_size_is_noticed(place: Any) -> None:
    def meddle(done: int) -> None:
        if done == 192:
            os.utime(place.file, ns=(1, 1))

    with pytest.raises(StorageError, match="changed while it was read"):
        place.encode(1000, on_progress=meddle)
    assert place.names() == ["letter.txt"]


def test_nothing_is_written_over_unless_forced(place: Any) -> None:
    made = place.encode()
    held = place.names()
    with pytest.raises(StorageError, match=r"letter.txt.ec is there already"):
        place.encode()
    place.encode(700, force=True)
    assert place.names() == held
    place.restores(made.folder)
    assert len(place.data) == 700
    (made.folder / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"holds photo.jpg, which is no fragment file"):
        place.encode(700, force=True)
    assert (made.folder / "photo.jpg").read_bytes() == b"mine"
    target = place.folder / "target"
    target.write_bytes(b"before")
    with pytest.raises(StorageError, match="target is there already"):
        ec.decode_file(made.folder, target)
    assert target.read_bytes() == b"before"
    ec.decode_file(made.folder, target, force=True)
    assert target.read_bytes() == place.data


def test_a_file_that_comes_to_be_there_meanwhile_is_kept(place: Any) -> None:
    made = place.encode(1000)
    target = place.folder / "target"
    with pytest.raises(StorageError, match="target is there already"):
        ec.decode_file(made.folder, target, on_progress=lambda _: target.write_bytes(b"mine") and None)
    assert target.read_bytes() == b"mine"
    other = place.folder / "other"

    def put(_: int) -> None:
        other.mkdir(exist_ok=True)
        (other / "photo").write_bytes(b"mine")

    with pytest.raises(StorageError, match="other is there already"):
        place.encode(1000, folder=other, on_progress=put)
    assert sorted(path.name for path in place.folder.iterdir()) == ["letter.txt", "letter.txt.ec", "other", "target"]
    assert (other / "photo").read_bytes() == b"mine"


def test_what_is_synced(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(handle: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", fsync)
    made = place.encode(sync=True)
    folders = ["folder"] if os.name == "posix" else []
    assert synced == ["file"] * 5 + folders * 2
    synced.clear()
    ec.decode_file(made.folder, place.folder / "x")
    assert synced == ["file", *folders]
    synced.clear()
    made.files[0].unlink()
    ec.rebuild_file(made.folder)
    assert synced == ["file", *folders]
    synced.clear()
    place.encode(force=True, sync=False)
    place.restores(made.folder)
    assert synced == []


def test_places_that_cannot_be(place: Any) -> None:
    made = place.encode()
    before = place.names()
    for call in (
        lambda: ec.encode_file(place.folder / "nosuch"),
        lambda: ec.encode_file(place.file, place.folder / "no" / "such"),
        lambda: ec.encode_file(place.file, place.file),
        lambda: ec.decode_file(place.folder / "nosuch", place.folder / "x"),
        lambda: ec.decode_file(made.folder, place.folder / "no" / "such"),
        lambda: ec.inspect_file(place.folder / "nosuch"),
        lambda: ec.decode_file(made.folder, place.file),
    ):
        with pytest.raises(StorageError, match=r"No such file|is there already"):
            call()
    for wrong in (place.folder, made.folder):
        with pytest.raises(InputError, match="is a folder; a file is needed"):
            ec.encode_file(wrong, place.folder / "x")
    with pytest.raises(InputError, match="holds no fragment file"):
        ec.inspect_file(place.folder)
    with pytest.raises(InputError, match="no path was given"):
        ec.inspect_file([])
    with pytest.raises(UnavailableError, match="no fragment file can be read"):
        ec.inspect_file([place.folder / "a", place.folder / "b"])
    with pytest.raises(InputError, match="at most 256"):
        ec.encode_file(place.file, k=200, p=57)
    with pytest.raises(InputError, match="keep_original with p 0"):
        ec.encode_file(place.file, p=0, keep_original=True)
    with pytest.raises(InputError, match="multiple of 64"):
        ec.encode_file(place.file, block_len=100)
    assert place.names() == before


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")
def test_pipes_and_devices_are_refused_at_once(place: Any) -> None:
    os.mkfifo(place.folder / "pipe")
    for path in (place.folder / "pipe", Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(InputError, match="no regular file"):
            ec.encode_file(path, place.folder / "x")
        with pytest.raises(InputError, match="no regular file"):
            ec.inspect_file(path)
    made = place.encode()
    with pytest.raises(StorageError, match="no regular file"):
        ec.decode_file(made.folder, "/dev/null", force=True)


@contextlib.contextmanager
def without_powers(folder: Path) -> Iterator[None]:
    """As somebody who may not read and write everything, whose the folder is."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_what_may_not_be_read_or_written(place: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own lies where only its owner may go
        place.folder, place.file = Path(folder), Path(folder, "letter.txt")
        made = place.encode()
        with without_powers(place.folder):
            made.files[0].chmod(0)
            assert place.restores(made.folder).made == 3
            assert "letter.txt.000.ecf: Permission denied" in ec.inspect_file(made.folder).problems
            with pytest.raises(StorageError, match=r"letter.txt.000.ecf: Permission denied"):
                ec.inspect_file(made.files[0])
            made.folder.chmod(0)
            with pytest.raises(StorageError, match=r"letter.txt.ec: Permission denied"):
                ec.inspect_file(made.folder)
            made.folder.chmod(0o700)
            place.folder.chmod(0o500)
            for call in (
                lambda: ec.decode_file(made.folder, place.folder / "x"),
                lambda: ec.encode_file(place.file, place.folder / "x"),
            ):
                with pytest.raises(StorageError, match="x: Permission denied"):
                    call()
            place.folder.chmod(0o700)
            assert place.names() == ["letter.txt", "letter.txt.ec", *[f"letter.txt.ec/{p.name}" for p in made.files]]


@pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")
def test_modes_and_links(place: Any) -> None:
    made = place.encode()
    target, link = place.folder / "target", place.folder / "link"
    target.write_bytes(b"x")
    target.chmod(0o640)
    link.symlink_to(target)
    ec.decode_file(made.folder, link, force=True)
    assert link.is_symlink()
    assert target.read_bytes() == place.data
    assert target.stat().st_mode & 0o777 == 0o640
    (place.folder / "disk").mkdir()
    (place.folder / "there").symlink_to(place.folder / "disk")
    place.encode(folder=place.folder / "there", force=True)
    assert (place.folder / "there").is_symlink()
    assert len(list((place.folder / "disk").iterdir())) == 5


def test_a_fragment_is_not_made_over_a_file_of_another_set(place: Any) -> None:
    made = place.encode()
    other = place.folder / "other"
    other.mkdir()
    (other / made.files[1].name).write_bytes(b"mine")
    made.files[1].unlink()
    with pytest.raises(StorageError, match="is there and is not this fragment"):
        ec.rebuild_file(made.folder, other)
    assert (other / made.files[1].name).read_bytes() == b"mine"
    with pytest.raises(StorageError, match="No such file"):
        ec.rebuild_file(made.folder, place.folder / "nosuch")


def test_a_copy_of_another_fragment_is_not_said_to_be_of_another_set(place: Any) -> None:
    made = place.encode()
    made.files[1].write_bytes(made.files[2].read_bytes())
    with pytest.raises(StorageError, match=r"\.001\.ecf is there and is not this fragment; move it"):
        ec.rebuild_file(made.folder)


@pytest.mark.skipif(os.name == "nt", reason="names of errors of POSIX")
def test_a_folder_that_somebody_else_makes_meanwhile(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "theirs.ecf").write_bytes(b"theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(StorageError, match=r"letter\.txt\.ec is there already"):
        place.encode()
    assert place.names() == ["letter.txt", "letter.txt.ec", "letter.txt.ec/theirs.ecf"]


# --- memory ----------------------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from pathlib import Path
from city_chain import ec

def most():
    status = Path("/proc/self/status")
    if status.exists():  # a process that was started by a large one inherits that one's maximum, but not here
        return int(status.read_text().split("VmHWM:")[1].split()[0]) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)

for code in ("rs16", "gf8"):  # what the codes keep for themselves
    codec = ec.Codec(6, 4, code=code)
    codec.decode({at: part for at, part in enumerate(codec.encode(bytes(1 << 20))) if at > 3}, 1 << 20)
before = most()
folder = Path(sys.argv[1])
k, p = map(int, sys.argv[2:])
made = ec.encode_file(folder / "large", k=k, p=p, sync=False)
for path in made.files[:p]:
    path.unlink()
ec.decode_file(made.folder, folder / "restored", sync=False)
assert ec.rebuild_file(made.folder, sync=False).keys() == set(range(p))
assert ec.verify_file(made.folder).whole
print(most() - before)
"""


@pytest.mark.skipif(os.name == "nt", reason="measures as POSIX does")
@pytest.mark.parametrize(("k", "p"), [(6, 4), (128, 128)])
def test_memory_is_bounded_whatever_the_size(tmp_path: Path, k: int, p: int) -> None:
    """CITY_CHAIN_LARGE_MIB is the size of the file; the figure of the page was taken with 2048."""
    size = int(os.environ.get("CITY_CHAIN_LARGE_MIB", "160")) << 20
    with (tmp_path / "large").open("wb") as file:  # mostly a hole: reading it costs memory like any other
        for at in range(0, size, size // 8):
            file.seek(at)
            file.write(Random(at).randbytes(5000))
        file.truncate(size)
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path, str(k), str(p)],
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    print(f"{size >> 20} MiB encoded with {k} + {p}, restored, rebuilt and verified with {ran.stdout.strip()} MiB")
    assert int(ran.stdout) < 64
    assert subprocess.run(["cmp", tmp_path / "large", tmp_path / "restored"], check=False).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_disk_that_is_full(place: Any) -> None:
    made = place.encode(4000)
    before = place.names()
    program = (
        "import resource, sys\nfrom city_chain import ec, errors\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "for call in (lambda: ec.encode_file(sys.argv[1], sys.argv[1] + '.new', k=1, p=1),\n"
        "             lambda: ec.decode_file(sys.argv[2], sys.argv[1] + '.restored'),\n"
        "             lambda: ec.rebuild_file(sys.argv[2])):\n"
        "    try:\n        call()\n    except errors.StorageError as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    made.files[0].unlink()
    before.remove("letter.txt.ec/letter.txt.000.ecf")
    ran = subprocess.run(
        [sys.executable, "-c", program, place.file, made.folder], capture_output=True, text=True, timeout=60, check=True
    )
    lines = ran.stdout.splitlines()
    assert len(lines) == 3, ran
    for line, name in zip(lines, ("letter.txt.new", "letter.txt.restored", "letter.txt.000.ecf"), strict=True):
        assert line.startswith("StorageError ")
        assert line.endswith(f"{name}: File too large")
    assert place.names() == before


def test_a_thread_that_works_ahead_ends_with_the_block() -> None:
    seen: list[int] = []

    def items() -> Iterator[int]:
        for at in range(100):
            seen.append(at)
            yield at
        raise KeyError("mine")

    with ahead(items(), 2) as numbers:
        assert [next(numbers) for _ in range(3)] == [0, 1, 2]
    count = len(seen)
    assert count <= 6
    assert not [one for one in threading.enumerate() if one.name == "city-chain ec"]
    assert len(seen) == count
    with pytest.raises(KeyError, match="mine"), ahead(items(), 2) as numbers:
        assert sum(1 for _ in numbers) == 100
