"""``city-chain keygen``: files, modes, passphrases; what is refused, and that no secret is told."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from city_chain.cli import key_files
from city_chain.cli.console import Console
from city_chain.cli.parser import KEY_KINDS
from city_chain.errors import CityChainError, InputError, StorageError, VerificationError
from city_chain.records import KeyFile, PublicKeyFile

pytestmark = pytest.mark.e2e
posix = pytest.mark.skipif(os.name == "nt", reason="modes, terminals and links of POSIX")
not_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")

PASSPHRASE = b"correct horse"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is made ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_both_files_hold_one_key(cli: Any, kind: str) -> None:
    (cli.folder / "pass").write_bytes(PASSPHRASE + b"\n")
    (made,) = map(
        json.loads, cli.good("keygen", "alice", "--kind", kind, "--passphrase-file", "pass", "--json").splitlines()
    )
    secret = KeyFile.from_bytes((cli.folder / "alice.key").read_bytes())
    public = PublicKeyFile.from_bytes((cli.folder / "alice.pub").read_bytes())
    assert secret.public == public
    assert made == {
        "key": "alice.key",
        "public": "alice.pub",
        "kind": kind,
        "id": public.id.hex(),
        "encrypted": True,
    }
    unlock = secret.unlock_signing if kind.startswith("ml-dsa") else secret.unlock_kem
    assert unlock(PASSPHRASE).public_key == public.public_key
    with pytest.raises(VerificationError):
        unlock(PASSPHRASE + b"\n")
    assert (secret.memory_kib, secret.passes, secret.lanes) == (65536, 3, 1)
    assert names(cli.folder) == ["alice.key", "alice.pub", "pass"]


@posix
def test_only_its_owner_reads_the_secret(cli: Any) -> None:
    before = os.umask(0)
    try:
        said = cli.good("keygen", "alice", "--no-passphrase")
    finally:
        os.umask(before)
    assert mode(cli.folder / "alice.key") == 0o600
    assert mode(cli.folder / "alice.pub") == 0o666
    assert "not encrypted" in said
    assert not KeyFile.from_bytes((cli.folder / "alice.key").read_bytes()).is_encrypted
    cli.good("keygen", "bob.key", "--no-passphrase")  # the suffix may be there
    assert {"bob.key", "bob.pub"} < set(names(cli.folder))
    assert mode(cli.folder / "bob.pub") == 0o666 & ~before


def test_the_passphrase_of_a_file_wins_over_the_variable(cli: Any) -> None:
    (cli.folder / "pass").write_bytes(b"from the file\r\n")
    done = cli("keygen", "a", "--passphrase-file", "pass", CITY_CHAIN_PASSPHRASE="from the variable")
    assert done.returncode == 0
    KeyFile.from_bytes((cli.folder / "a.key").read_bytes()).unlock_kem(b"from the file")
    assert cli("keygen", "b", CITY_CHAIN_PASSPHRASE="from the variable").returncode == 0
    KeyFile.from_bytes((cli.folder / "b.key").read_bytes()).unlock_kem(b"from the variable")
    cli.good("keygen", "c", "--passphrase-file", "-", stdin=b"from stdin")
    KeyFile.from_bytes((cli.folder / "c.key").read_bytes()).unlock_kem(b"from stdin")
    assert cli("keygen", "d", "--no-passphrase", CITY_CHAIN_PASSPHRASE="x").returncode == 0
    assert not KeyFile.from_bytes((cli.folder / "d.key").read_bytes()).is_encrypted


def test_letters_with_marks_are_one_however_they_are_typed(cli: Any) -> None:
    cli.good("keygen", "a", "--passphrase-file", "-", stdin="café".encode())
    (cli.folder / "pass").write_bytes("cafe\u0301".encode())
    handle = key_files.unlock_kem(cli.folder / "a.key", str(cli.folder / "pass"), Console())
    assert handle.public_key == KeyFile.from_bytes((cli.folder / "a.key").read_bytes()).public_key


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["alice.key", "alice.pub"])
def test_no_file_is_written_over_but_with_force(cli: Any, there: str) -> None:
    (cli.folder / there).write_bytes(b"dear")
    said = cli.bad("keygen", "alice", "--no-passphrase")
    assert f"{there} is there already" in said
    assert "--force" in said
    assert names(cli.folder) == [there]
    assert (cli.folder / there).read_bytes() == b"dear"
    cli.good("keygen", "alice", "--no-passphrase", "--force")
    assert names(cli.folder) == ["alice.key", "alice.pub"]
    KeyFile.from_bytes((cli.folder / "alice.key").read_bytes()).unlock_kem()
    if os.name == "posix":
        assert mode(cli.folder / "alice.key") == 0o600


@posix
def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = key_files.check_free

    def late(path: Path, *, over: bool) -> None:
        checked(path, over=over)
        if path.name == "a.pub":
            path.write_bytes(b"other")

    monkeypatch.setattr(key_files, "check_free", late)
    with pytest.raises(StorageError, match=r"a\.pub is there already"):
        key_files.write_pair([(tmp_path / "a.key", b"s", 0o600), (tmp_path / "a.pub", b"p", 0o644)], over=False)
    assert names(tmp_path) == ["a.pub"], "the secret key alone is of no use"
    assert (tmp_path / "a.pub").read_bytes() == b"other"


@posix
def test_where_there_are_no_links_nothing_is_written_over_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    key_files.write_pair([(tmp_path / "a", b"1", 0o600)], over=False)
    assert ((tmp_path / "a").read_bytes(), mode(tmp_path / "a")) == (b"1", 0o600)
    monkeypatch.setattr(key_files, "check_free", lambda *_, **__: None)
    with pytest.raises(StorageError, match="is there already"):
        key_files.write_pair([(tmp_path / "a", b"2", 0o600)], over=False)
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("fails", ["mkstemp", "fsync", "link", "write"])
@posix
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    if fails == "write":
        opened = open

        def shut(*args: Any, **more: Any) -> Any:
            return _Full(opened(*args, **more))

        monkeypatch.setattr(key_files, "open", shut, raising=False)
    else:
        monkeypatch.setattr(key_files.tempfile if fails == "mkstemp" else os, fails, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        key_files.write_pair([(tmp_path / "a.key", b"s", 0o600), (tmp_path / "a.pub", b"p", 0o644)], over=False)
    assert caught.value.filename == str(tmp_path / "a.key")
    assert names(tmp_path) == []


class _Full:
    """A file on a full disk."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, _: bytes) -> int:
        raise OSError(28, "No space left on device")


def test_folders_that_are_not_there_or_no_folders(cli: Any) -> None:
    assert cli.bad("keygen", "absent/a", "--no-passphrase") == "city-chain: absent/a.key: No such file or directory\n"
    (cli.folder / "a.key").mkdir()
    assert "a.key is a folder" in cli.bad("keygen", "a", "--no-passphrase")
    assert "the name is empty" in cli("keygen", "", "--no-passphrase").stderr.decode()


@not_root
def test_a_folder_that_cannot_be_written(cli: Any) -> None:
    folder = cli.folder / "shut"
    folder.mkdir(mode=0o500)
    assert cli.bad("keygen", "shut/a", "--no-passphrase") == "city-chain: shut/a.key: Permission denied\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"zebra\nyak\n", "more than one line"),
        (b"x" * 1025, "more than 1024 bytes"),
        (b"x" * 5000 + b"\n", "more than 1024 bytes"),
    ],
)
def test_passphrases_that_are_none(cli: Any, content: bytes, words: str) -> None:
    (cli.folder / "pass").write_bytes(content)
    said = cli.bad("keygen", "a", "--passphrase-file", "pass")
    assert words in said
    assert "zebra" not in said
    assert names(cli.folder) == ["pass"]
    assert "No such file" in cli.bad("keygen", "a", "--passphrase-file", "absent")
    assert "is empty" in cli.bad("keygen", "a", CITY_CHAIN_PASSPHRASE="")


def test_options_that_do_not_go_together(cli: Any) -> None:
    for words in (
        ["keygen", "a", "--no-passphrase", "--passphrase-file", "f"],
        ["keygen", "a", "--kind", "rsa"],
        ["keygen"],
        ["inspect"],
        ["receive", "00000000", "--passphrase-file", "f"],
        ["send", "f", "--seal", "city", "--seal", "a.pub"],
        ["send", "f", "--seal", ""],
    ):
        assert cli(*words).returncode == 2, words


@posix
def test_without_a_terminal_it_says_what_to_do(cli: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "city_chain.cli", "keygen", "a"],
        cwd=cli.folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a session of its own has no terminal
        check=False,
        timeout=60,
    )
    said = done.stderr.decode()
    assert (done.returncode, names(cli.folder)) == (1, [])
    assert said.startswith("city-chain: a passphrase is needed, and there is no terminal")
    for way in ("--passphrase-file FILE", "CITY_CHAIN_PASSPHRASE", "--no-passphrase"):
        assert way in said


# --- on a terminal ---------------------------------------------------------------------------------------------------


@posix
def test_it_is_asked_for_twice_and_not_shown(cli: Any, on_terminal: Any) -> None:
    terminal = on_terminal("keygen", "alice")
    terminal.wait_for(b"Passphrase for alice.key: ")
    terminal.type(b"correct horse\n")
    terminal.wait_for(b"The same again: ")
    terminal.type(b"correct horse\n")
    status, seen = terminal.end()
    assert status == 0
    assert b"horse" not in seen
    KeyFile.from_bytes((cli.folder / "alice.key").read_bytes()).unlock_kem(PASSPHRASE)


@posix
@pytest.mark.parametrize(
    ("typed", "status", "words"),
    [
        ([b"correct horse\n", b"correct house\n"], 1, b"not the same; nothing was made"),
        ([b"\n"], 1, b"(what was typed) is empty; --no-passphrase"),
        ([b"\x04"], 1, b"no passphrase was typed"),
        ([b"\x03"], 130, b"city-chain: interrupted"),
        ([b"correct horse\n", b"\x03"], 130, b"city-chain: interrupted"),
    ],
)
def test_what_else_may_be_typed(cli: Any, on_terminal: Any, typed: list[bytes], status: int, words: bytes) -> None:
    terminal = on_terminal("keygen", "alice")
    for question, answer in zip([b"Passphrase for alice.key: ", b"The same again: "], typed, strict=False):
        terminal.wait_for(question)
        terminal.type(answer)
    ended, seen = terminal.end()
    assert (ended, words in seen) == (status, True), seen
    assert b"Traceback" not in seen
    assert b"horse" not in seen
    assert names(cli.folder) == []


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with an encrypted, a plain and a signing key."""
    made = {
        "closed": KeyFile.generate("x-wing", PASSPHRASE, memory_kib=8192, passes=1),
        "open": KeyFile.generate("x-wing", None),
        "signing": KeyFile.generate("ml-dsa-44", PASSPHRASE, memory_kib=8192, passes=1),
    }
    for name, key in made.items():
        files = [
            (tmp_path / f"{name}.key", key.to_bytes(), 0o600),
            (tmp_path / f"{name}.pub", key.public.to_bytes(), 0o644),
        ]
        key_files.write_pair(files, over=False)
    (tmp_path / "pass").write_bytes(PASSPHRASE)
    (tmp_path / "bare").write_bytes(made["open"].public_key)
    return tmp_path


def test_public_keys_are_read_from_either_file(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("closed", "open", "signing"):
        found = [key_files.public_key(keys / f"{name}.{suffix}", Console()) for suffix in ("key", "pub")]
        assert found[0] == found[1] == PublicKeyFile.from_bytes((keys / f"{name}.pub").read_bytes())
    assert key_files.public_key(keys / "bare", Console()) == key_files.public_key(keys / "open.pub", Console())
    for wrong in (b"", b"hello", bytes(9000), (keys / "open.pub").read_bytes()[:-1]):
        (keys / "wrong").write_bytes(wrong)
        with pytest.raises(InputError, match=r"wrong is no (public )?key file: "):
            key_files.public_key(keys / "wrong", Console())
    assert capsys.readouterr().err == ""


def test_keys_are_unlocked(keys: Path) -> None:
    for name, passphrase in (("closed", str(keys / "pass")), ("open", None)):
        handle = key_files.unlock_kem(keys / f"{name}.key", passphrase, Console())
        assert handle.public_key == key_files.public_key(keys / f"{name}.pub", Console()).public_key
    (keys / "wrong").write_bytes(b"correct house")
    for name, word, error in (
        ("closed.key", "wrong passphrase, or the file was changed", VerificationError),
        ("signing.key", "of kind ml-dsa-44 and signs", InputError),
        ("closed.pub", r"is a public key, which opens nothing; the secret one is needed, .*closed\.key", InputError),
        ("bare", "is no secret key file", InputError),
        ("pass", "is no secret key file", InputError),
    ):
        with pytest.raises(error, match=word) as caught:
            key_files.unlock_kem(keys / name, str(keys / "wrong"), Console())
        assert str(keys / name) in str(caught.value)
        assert "horse" not in str(caught.value)
        assert "house" not in str(caught.value)


@posix
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o777])
def test_a_plain_secret_that_others_may_get_at_is_not_used(
    keys: Path, bits: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (keys / "open.key").chmod(bits)
    with pytest.raises(InputError, match=rf"others may get at it \(its mode is {bits:04o}\); chmod 600"):
        key_files.unlock_kem(keys / "open.key", None, Console())
    (keys / "closed.key").chmod(bits)
    assert not capsys.readouterr().err  # the refusal says it all
    key_files.unlock_kem(keys / "closed.key", str(keys / "pass"), Console())
    said = capsys.readouterr().err
    assert (f"everybody can read {keys / 'closed.key'}; chmod" in said) == bool(bits & 0o004)
    key_files.public_key(keys / "open.key", Console())
    said = capsys.readouterr().err
    assert (f"everybody can read {keys / 'open.key'}, which is not encrypted; chmod" in said) == bool(bits & 0o004)


@posix
def test_a_plain_secret_of_another_user_is_not_used(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(InputError, match=f"not encrypted and not yours \\(it is of user {mine}\\)"):
        key_files.unlock_kem(keys / "open.key", None, Console())
    key_files.unlock_kem(keys / "closed.key", str(keys / "pass"), Console())


@posix
def test_what_is_looked_at_is_the_file_that_is_read(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and looking the name may come to mean another file."""
    real = os.fstat
    (keys / "open.key").chmod(0o644)

    def swapped(handle: int) -> os.stat_result:
        (keys / "other").write_bytes(b"")
        (keys / "other").chmod(0o600)
        os.replace(keys / "other", keys / "open.key")
        return real(handle)

    monkeypatch.setattr(key_files.os, "fstat", swapped)
    with pytest.raises(InputError, match="others may get at it"):
        key_files.unlock_kem(keys / "open.key", None, Console())


def test_every_cut_of_a_key_file_is_refused(keys: Path) -> None:
    data = (keys / "closed.key").read_bytes()
    for end in range(0, len(data), 7):
        (keys / "cut.key").write_bytes(data[:end])
        with pytest.raises(CityChainError, match="is no secret key file"):
            key_files.unlock_kem(keys / "cut.key", str(keys / "pass"), Console())


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_nothing_that_is_said_holds_a_secret(cli: Any, keys: Path) -> None:
    seed = (keys / "open.key").read_bytes()[-32:]
    said = b""
    for words in (
        ["inspect", "open.key", "closed.key"],
        ["inspect", "--json", "open.key", "closed.key"],
        ["keygen", "open", "--no-passphrase"],
        ["receive", "00000000", "--key", "open.key"],
        ["send", "--seal", "open.key", "open.pub"],
    ):
        for debug in ({}, {"CITY_CHAIN_DEBUG": "1"}):
            done = cli(*words, **debug)
            said += done.stdout + done.stderr
    assert seed not in said
    assert seed.hex().encode()[:24] not in said.lower()
    assert PASSPHRASE not in said
