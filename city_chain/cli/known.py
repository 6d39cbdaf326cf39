"""Everything that ``city-chain inspect`` can read: the table of tags, and how each thing is shown.

A record begins with four letters, its tag. A class of `city_chain.records`, `city_chain.proofs`, `city_chain.cbf`,
`city_chain.hvp` or `city_chain.algorithms.sc` that has an encoding and is missing here fails a test.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from city_chain import records
from city_chain.algorithms import cbf, hvp, sc, tnh
from city_chain.algorithms.ec.layout import CODES, HEADER_LEN, Header
from city_chain.cli.commits import certificate_words
from city_chain.cli.console import text
from city_chain.cli.kept import CommitProof, kept
from city_chain.errors import CityChainError, InputError
from city_chain.proofs import dpos, poh, pop

__all__ = ["HEAD_LEN", "PARTS", "RECORDS", "UNREAD", "Thing", "fields", "lines", "name_of", "recognise", "shown"]

RECORDS: dict[bytes, tuple[str, type[Any]]] = {
    b"CCak": ("ack", poh.Ack),
    b"CCav": ("availability certificate", records.AvailabilityCertificate),
    b"CCba": ("batch", records.Batch),
    b"CCbh": ("batch header", records.BatchHeader),
    b"CCbl": ("Bloom filter", cbf.Bloom),
    b"CCcc": ("commit certificate", records.CommitCertificate),
    b"CCce": ("delegates' certificate", dpos.Certificate),
    b"CCcf": ("cuckoo filter", cbf.Cuckoo),
    b"CCck": ("city keys", records.CityKeys),
    b"CCcl": ("candidate list", records.Candidates),
    b"CCcr": ("countersigned receipt", records.CountersignedReceipt),
    b"CCcs": ("countersignature", records.Countersignature),
    b"CCdl": ("dealing", records.Dealing),
    b"CCel": ("election", records.Election),
    b"CCen": ("entry", records.Entry),
    b"CCep": ("epoch", records.Epoch),
    b"CChc": ("commit proof", CommitProof),
    b"CCho": ("handover", records.Handover),
    b"CChr": ("hold request", poh.HoldRequest),
    b"CCkf": ("secret key file", records.KeyFile),
    b"CCle": ("letter", records.Letter),
    b"CCly": ("shard layout", sc.Layout),
    b"CCmf": ("manifest", records.Manifest),
    b"CCms": ("message", records.Message),
    b"CCno": ("node record", records.NodeRecord),
    b"CCpa": ("place attestation", records.PlaceAttestation),
    b"CCpc": ("contact", hvp.Contact),
    b"CCpk": ("public key file", records.PublicKeyFile),
    b"CCpl": ("map of municipalities", pop.Places),
    b"CCpm": ("multipliers", pop.Multipliers),
    b"CCpr": ("proposal", dpos.Proposal),
    b"CCpu": ("place rules", records.PlaceRules),
    b"CCpw": ("place testimony", records.PlaceTestimony),
    b"CCrc": ("repair certificate", records.RepairCertificate),
    b"CCre": ("receipt", records.Receipt),
    b"CCrn": ("recipient", records.Recipient),
    b"CCrp": ("repair", records.Repair),
    b"CCrq": ("repair request", records.RepairRequest),
    b"CCrt": ("report", dpos.Report),
    b"CCru": ("ruling", records.Ruling),
    b"CCse": ("selection", records.Selection),
    b"CCsh": ("shard handover", sc.Handover),
    b"CCsl": ("sealed payload", records.Sealed),
    b"CCsm": ("shard manifest", sc.Manifest),
    b"CCso": ("shard command", sc.Command),
    b"CCsp": ("shard part", sc.Part),
    b"CCss": ("shard statement", sc.Statement),
    b"CCsv": ("shard certificate", sc.Certificate),
    b"CCth": ("transaction head", records.TransactionHead),
    b"CCtr": ("trust anchor", records.Trust),
    b"CCtx": ("transaction", records.Transaction),
    b"CCvo": ("vote", dpos.Vote),
    b"CCvs": ("validator set", dpos.ValidatorSet),
    b"CCwc": ("place claim", records.PlaceClaim),
}
"""What each tag stands for: a name, and the class that reads it."""

PARTS: dict[type[Any], str] = {dpos.Slot: "slot"}
"""Parts of records that have no encoding of their own."""

UNREAD = {b"CCds": "state of a delegate's voting machine"}
"""Tags of what has no class that reads it without keys."""

HEAD_LEN = HEADER_LEN
"""How many bytes at the start tell what something is."""

_ENVELOPE_LEN = 6
_FRAGMENT = b"cityec\r\n"
_DATABASE = b"SQLite format 3\0"
_TWICE = {records.Receipt: {"manifest"}, records.KeyFile: {"public"}}  # what another field holds, too
_ORDER = (
    "kind",
    "id",
    "tx_id",
    "network",
    "epoch",
    "number",
    "height",
    "position",
    "sender",
    "node",
    "sequence",
    "index",
)
_PROPERTIES = {"getset_descriptor", "member_descriptor"}  # of a class of the extension, and of a dataclass with slots
_SECRET = {records.KeyFile, records.Message}  # what may have a secret in it, and is not shown where it cannot be read
_NESTED_MAX = 6
_BYTES_MAX = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Thing:
    """What bytes turned out to be.

    Args:
        what: Its name.
        tag: The letters that it starts with.
        version: The version of its encoding; None where there is none.
        fields: Its fields, for `shown`.
        summary: What matters most, where the fields do not say it at a glance.
    """

    what: str
    tag: str
    version: int | None
    fields: dict[str, Any]
    summary: dict[str, Any]


def recognise(data: bytes) -> Thing:
    """Reads whatever it is.

    Args:
        data: All of its bytes; of a fragment file the first `HEAD_LEN` are enough.

    Raises:
        CityChainError: It is nothing that is known, or it is damaged; the message says what would have been right.

    Example:
        >>> recognise(records.Trust(bytes(32), [(0, bytes(32))]).to_bytes()).what
        'trust anchor'
    """
    tag = data[:4]
    if tag in RECORDS:
        what, kind = RECORDS[tag]
        try:
            record = kind.from_bytes(data)
        except CityChainError as error:
            raise InputError(f"starts as a {what} ({tag.decode()}), but is damaged: {error}") from None
        more = kept(record) if isinstance(record, records.Message) else None
        if more is not None:
            return Thing(more[0], tag.decode(), _version(data), more[1], {})
        return Thing(what, tag.decode(), _version(data), fields(record), _summary(record))
    if tag in UNREAD and len(data) >= _ENVELOPE_LEN:
        return Thing(UNREAD[tag], tag.decode(), _version(data), {}, {})
    if data.startswith(_FRAGMENT):
        try:
            header = Header.from_bytes(data)
        except CityChainError as error:
            raise InputError(f"starts as a fragment file of ec, but is damaged: {error}") from None
        return Thing("fragment file of ec", "cityec", int.from_bytes(data[8:10], "little"), _of_fragment(header), {})
    words = records.key_words(data)
    if words is not None:
        return Thing(f"bare key bytes: {words}", data[:2].decode(), None, _of_key(data), {})
    raise InputError(_unknown(data))


def _unknown(data: bytes) -> str:
    expected = (
        "a record or receipt (it starts with CC and two letters), a key file, typed key bytes or a fragment file of ec "
        "is expected"
    )
    if not data:
        return f"is empty; {expected}"
    if data.startswith(_DATABASE):
        return "is an SQLite database, as a city's city.db is (city-chain doctor looks into a city); " + expected
    if data[:2] == b"CC" and data[2:4].isalpha() and len(data) >= _ENVELOPE_LEN:
        return f"starts with {text(data[:4].decode('latin-1'))}, which no record that is known here does; {expected}"
    return f"starts with {data[:8].hex(' ')}: {expected}"


def _version(data: bytes) -> int:
    return int.from_bytes(data[4:6], "little")


def _summary(record: object) -> dict[str, Any]:
    """What a receipt proves, at a glance."""
    if not isinstance(record, records.Receipt):
        return {}
    cipher = record.manifest.cipher
    return {
        "acks": len(record.availability.acks),
        "of": record.manifest.n,
        **({"grades": grades} if (grades := grade_words(record.availability.grades)) else {}),
        "epoch": record.epoch.number,
        "height": record.header.height,
        "sealed": {None: "no", "city": "to the city", "readers": "to readers"}.get(cipher, cipher),
        "compressed": record.certificate.engine == "bls",
        "commit": certificate_words(record.certificate, record.epoch),
    }


def grade_words(grades: list[tuple[int, int]]) -> str:
    """The grades of place of a transaction's holders in words; empty where places did not count.

    Args:
        grades: (fragment index, grade) each (`records.AvailabilityCertificate.grades`).

    Example:
        >>> grade_words([(0, 3), (1, 2), (2, 3)])
        '2 of grade 3, 1 of grade 2'
    """
    counts = Counter(grade for _, grade in grades)
    return ", ".join(f"{counts[grade]} of grade {grade}" for grade in sorted(counts, reverse=True))


def _of_fragment(header: Header) -> dict[str, Any]:
    return {
        "root": header.root,
        "name": header.name.decode(errors="backslashreplace"),
        "length": header.length,
        "code": CODES.get(header.code, str(header.code)),
        "k": header.k,
        "n": header.n,
        "index": header.index,
        "block_len": header.block_len,
        "stripes": header.stripes,
        "keeps_original": header.keeps_original,
    }


def _of_key(data: bytes) -> dict[str, Any]:
    """Of bare bytes only those of a public key are shown."""
    try:
        return fields(records.PublicKeyFile(data))
    except CityChainError:
        return {"public_key": data} if "public" in (records.key_words(data) or "") else {}


def fields(record: object) -> dict[str, Any]:
    """The properties of a record by name: ids first, plain values next, records that stand in it last.

    Example:
        >>> list(fields(records.Message("hold", [b"a"])))
        ['kind', 'parts']
    """
    kind = type(record)
    names = [name for name, member in vars(kind).items() if type(member).__name__ in _PROPERTIES]
    found: dict[str, Any] = {}
    for name in names:
        if not name.startswith("_") and name not in _TWICE.get(kind, ()):
            with contextlib.suppress(CityChainError):  # a compressed certificate has no votes to show
                found[name] = getattr(record, name)

    def place(name: str) -> tuple[bool, int, str]:
        value = found[name]
        first = value[0] if isinstance(value, list) and value else value
        return name_of(first) is not None, _ORDER.index(name) if name in _ORDER else len(_ORDER), name

    return {name: found[name] for name in sorted(found, key=place)}


def name_of(value: object) -> str | None:
    """The name of a record; None for any other value."""
    return _NAMES.get(type(value))


_NAMES = {kind: what for what, kind in RECORDS.values()} | PARTS


def shown(value: Any, name: str = "", depth: int = 0) -> Any:
    r"""A value as JSON has it: bytes in hex, times in UTC beside their number, records as objects.

    What has more than 4,096 bytes is cut: its length and its start are shown. Bytes that are a record are shown as one,
    and those of a secret key are not shown.

    Example:
        >>> shown(b"\x01\x02"), shown(3 << 16, "hlc")
        ('0102', {'raw': 196608, 'utc': '1970-01-01T00:00:00.003Z', 'counter': 0})
    """
    what = name_of(value)
    if what is not None:
        if depth >= _NESTED_MAX:
            return {"what": what}
        return {"what": what, **{key: shown(one, key, depth + 1) for key, one in fields(value).items()}}
    if isinstance(value, bytes):
        return _bytes(value, name, depth)
    if isinstance(value, list | tuple):
        return [shown(one, name.removesuffix("s"), depth) for one in value]
    if isinstance(value, dict):  # as pairs: its keys may be any text, those with a meaning here too
        return [[key, shown(one, name.removesuffix("s"), depth)] for key, one in value.items()]
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(value, name)
    return value


def _bytes(value: bytes, name: str, depth: int) -> Any:
    if value[:4] in RECORDS:
        what, kind = RECORDS[value[:4]]
        if depth >= _NESTED_MAX:
            return {"what": what, "bytes": len(value)}
        try:
            return _record(kind.from_bytes(value), name, depth)
        except CityChainError:
            if kind in _SECRET:
                return {"what": what, "damaged": True, "bytes": len(value)}
    words = records.key_words(value)
    if words is not None and "secret" in words:
        return {"what": words, "bytes": len(value)}
    if len(value) <= _BYTES_MAX:
        return value.hex()
    return {"bytes": len(value), "starts": value[:32].hex()}


def _record(record: object, name: str, depth: int) -> Any:
    more = kept(record) if isinstance(record, records.Message) else None
    if more is None:
        return shown(record, name, depth)
    return {"what": more[0], **{key: shown(one, key, depth + 1) for key, one in more[1].items()}}


def _number(value: int, name: str) -> Any:
    if name == "hlc":
        return {"raw": value, "utc": _utc(tnh.ms(value)), "counter": tnh.counter(value)}
    if name.endswith("_ms") or name == "expiry":
        return {"raw": value, "utc": _utc(value)}
    return value


def _utc(ms: int) -> str | None:
    """A time as people write it; None beyond the year 9999."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(value: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    """Fields that `shown` made, for people: one a line, what is nested further in, long lists cut.

    Example:
        >>> print(*lines({"id": "00ff", "slot": {"what": "slot", "height": 1}}), sep="|")
          id    00ff|  slot  slot|    height  1
        >>> print(*lines({"grades": [[0, 3], [1, 2]]}))
          grades  (0, 3), (1, 2)
    """
    width = max(map(len, value), default=0)
    for name, one in value.items():
        head = f"{indent}{name:<{width}}  "
        if isinstance(one, dict) and "what" in one:
            yield head + one["what"]
            yield from lines({key: part for key, part in one.items() if key != "what"}, indent + "  ")
        elif isinstance(one, list) and len(_line(one)) > _LINE_MAX:
            yield f"{head}{len(one)}"
            for at, part in enumerate(one[:_ITEMS_MAX]):
                line = _line(part, long=isinstance(part, str))
                yield f"{indent}  [{at}] {line if len(line) <= _ITEM_MAX else line[:_ITEM_MAX] + '…'}"
            if len(one) > _ITEMS_MAX:
                yield f"{indent}  … and {len(one) - _ITEMS_MAX} more (--json shows all)"
        else:
            yield head + _line(one, long=True)


_LINE_MAX = 80
_ITEMS_MAX = 16
_ITEM_MAX = 200
_LONG = 128


def _line(value: Any, *, long: bool = False) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        if "raw" in value:
            counter = f", {value['counter']}" if value.get("counter") else ""
            return f"{value['raw']} ({value['utc'] or 'beyond the year 9999'}{counter})"
        if "starts" in value:
            return f"{value['bytes']} bytes, {value['starts']}…"
        parts = (f"{key} {_line(one)}" for key, one in value.items() if key != "what" and not isinstance(one, list))
        return "  ".join(filter(None, [value.get("what", ""), *parts]))
    if isinstance(value, list):
        return ", ".join(f"({_line(one)})" if isinstance(one, list) else _line(one) for one in value) or "none"
    if isinstance(value, str):
        most = _LONG if long else 16
        return text(value) if len(value) <= most or not _is_hex(value) else f"{value[:most]}… ({len(value) // 2} bytes)"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)


def _is_hex(value: str) -> bool:
    return set(value) <= set("0123456789abcdef")
