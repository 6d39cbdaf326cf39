"""The commands and their options. Nothing here loads the extension, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

from city_chain.cli import lab_parser, places_parser, world_parser
from city_chain.cli.arguments import Commands, action, file, folder

__all__ = ["FILE_BYTES_MAX", "KEY_KINDS", "build", "parse"]

FILE_BYTES_MAX = 64 << 20
"""The most bytes of one file: what one transaction may carry."""

KEY_KINDS = ("x-wing", "sntrup761-x25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")
"""The kinds of keys that `keygen` makes, the usual one first."""

_PASSPHRASES = (
    "The passphrase is the one line of --passphrase-file FILE; else what the variable CITY_CHAIN_PASSPHRASE holds; "
    "else it is asked for on the terminal."
)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace; its `command` names the module that runs it.

    Raises:
        SystemExit: The command line is wrong, or help was asked for.

    Example:
        >>> args = parse(["--city", "town", "send", "a", "b", "--json"])
        >>> args.command, args.city, args.json, args.files
        ('send', 'town', True, ['a', 'b'])
    """
    parser = build()
    args = parser.parse_args(argv)
    if args.command == "receive" and args.json and args.output in (None, "-"):
        parser.error("receive: --json needs -o FILE, for the payload goes to stdout without it")
    if args.command == "receive" and args.passphrase_file is not None and args.key is None:
        parser.error("receive: --passphrase-file is for --key FILE, which is missing")
    if args.command == "send" and args.seal is not None and "city" in args.seal and len(args.seal) > 1:
        parser.error("send: --seal city seals to the city alone; leave it out to seal to readers")
    return args


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="city-chain",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Disperses transactions over nodes, commits them, restores them, and proves all of it.",
        epilog="Example:\n  city-chain init town\n  city-chain --city town send letter.txt\n\n"
        "Exit status: 0 done, 1 it failed, 2 the command line is wrong, 130 interrupted.\n"
        "city-chain COMMAND --help says more, with an example for each.",
    )
    _add_common(parser, None, as_json=False)
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _init,
        _send,
        _receive,
        _verify,
        _health,
        _repair,
        _nodes,
        _validator,
        _elect,
        _doctor,
        _demo,
        _keygen,
        _inspect,
    ):
        _add_common(add(commands), argparse.SUPPRESS, as_json=argparse.SUPPRESS)
    _ec(commands)
    lab_parser.add(commands)
    places_parser.add(commands)
    world_parser.add(commands)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from city_chain import __version__  # noqa: PLC0415 — loads the extension

        print(f"city-chain {__version__}")
        parser.exit()


def _add_common(parser: argparse.ArgumentParser, city: str | None, *, as_json: bool | str) -> None:
    """The options that every command has, before it or after it."""
    parser.add_argument(
        "--city", metavar="DIR", type=folder, default=city, help="the city's folder (default: the current one)"
    )
    parser.add_argument("--json", action="store_true", default=as_json, help="output for programs: JSON, one a line")


def _command(commands: Commands, name: str, summary: str, more: str, *examples: str) -> argparse.ArgumentParser:
    head = "Example:" if len(examples) == 1 else "Examples:"
    return commands.add_parser(
        name,
        help=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.fill(f"{summary[0].upper()}{summary[1:]}. {more}", 88),
        epilog="\n".join([head, *(f"  city-chain {example}" for example in examples)]),
    )


def _init(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "init",
        "make a city in a folder",
        "The folder gets city.db (the city with its keys: keep it to yourself), trust.anchor (what others need to "
        "check its receipts) and receipts/.",
        "init town --nodes 20 -k 6 -n 10",
    )
    parser.add_argument("folder", metavar="DIR", type=folder, help="the folder; it is made if it is not there")
    parser.add_argument("--name", default="city", help="the city's name (default: %(default)s)")
    for flags, default, what in (
        (["--nodes"], 20, "how many nodes"),
        (["--validators"], 4, "how many of them are delegates, who vote"),
        (["-k"], 6, "fragments that restore a transaction"),
        (["-n"], 10, "fragments there are of each"),
        (["--districts"], 3, "failure domains that the nodes are spread over"),
    ):
        parser.add_argument(*flags, type=int, default=default, metavar="N", help=f"{what} (default: {default})")
    parser.add_argument(
        "--engine",
        default="hotstuff",
        metavar="NAME",
        help="how delegates commit: hotstuff, abba or dpos (default: %(default)s); lab engines compares them",
    )
    parser.add_argument(
        "--places", metavar="FILE", type=file, help="where the nodes are, as JSON: nodes are chosen by that, too"
    )
    return parser


def _send(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "send",
        "send files, each as one transaction",
        "One line for each, as soon as it is committed: its id, its file, and where its receipt is. With --json: "
        "tx_id, file, receipt. A file that cannot be sent is reported on stderr; the others are sent all the same. "
        "Holders cannot read what is sealed. To the city: a threshold of its delegates open it together, once it is "
        "committed. To readers: whoever has the secret key of one of the key files opens it.",
        "--city town send letter.txt photo.jpg",
        "--city town send --seal city bid.txt",
        "--city town send --seal alice.pub --seal bob.pub letter.txt",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help=f"at most {FILE_BYTES_MAX >> 20} MiB each; - is stdin")
    parser.add_argument(
        "--seal",
        metavar="city|KEYFILE",
        type=file,
        action="append",
        help="seal the files to the city, or to whoever has the secret key of a public key file; once for each reader "
        "(a key file that is called city is ./city)",
    )
    return parser


def _receive(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "receive",
        "restore a transaction's file from its holders",
        "What is sealed to the city opens by itself, once it is committed. What is sealed to readers needs the secret "
        f"key of one of them. {_PASSPHRASES}",
        "--city town receive 3f9a01c27b -o letter.txt",
        "--city town receive 3f9a01c27b --key alice.key -o letter.txt",
    )
    parser.add_argument("tx_id", metavar="TX_ID", help="the transaction's id; its first 8 digits or more if unique")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to write it, whole or not at all (default: stdout)"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("--key", metavar="FILE", type=file, help="the secret key file of a reader that it is sealed to")
    parser.add_argument(
        "--passphrase-file", metavar="FILE", type=file, help="a file whose one line is the key file's passphrase"
    )
    return parser


def _verify(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "verify",
        "check receipts",
        "Needs only the receipts and the trust anchor: no city, no network. Without --trust the anchor is "
        "trust.anchor in the city's folder (--city); without that the one beside the folder of receipts, else in the "
        "current folder, beside the receipt, or above it; take it from whoever runs the city, not from whoever shows "
        "you a receipt.",
        "verify receipts/3f9a….receipt --trust trust.anchor",
    )
    parser.add_argument("receipts", metavar="RECEIPT", nargs="+", help="a receipt, or a folder of *.receipt files")
    parser.add_argument("--trust", metavar="FILE", help="the trust anchor; for receipts of crossings a world's trust")
    return parser


def _health(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "health",
        "fetch and check every fragment",
        "Whole: all n fragments are right; healthy: the write quorum or more; degraded: k or more, so it can be "
        "restored; lost: fewer can be fetched now, and nodes that come back bring theirs. Exit status 1 if any "
        "transaction is degraded or lost.",
        "--city town health",
    )
    return _with_ids(parser)


def _repair(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "repair",
        "make absent and corrupt fragments anew on healthy nodes",
        "Exit status 1 if any transaction could not be made whole.",
        "--city town repair",
    )
    return _with_ids(parser)


def _with_ids(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("tx_ids", metavar="TX_ID", nargs="*", help="which transactions (default: all)")
    return parser


def _nodes(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "nodes",
        "list the nodes, stop some, start them again, or have them run in processes of their own",
        "A stopped node answers nothing, as after a crash, until it is started. A node that has moved out is run by "
        "city-chain validator with the file that is written; its number is said then, and --at tells the city where "
        "it answers.",
        "--city town nodes --stop 5d3c8a11",
        "--city town nodes --move-out 5d3c8a11 node.secret",
        "--city town nodes --at 3=tcp:127.0.0.1:7103",
    )
    for flag, what in (("--stop", "stop a node"), ("--start", "start a stopped node")):
        parser.add_argument(
            flag, metavar="ID", action="append", default=[], help=f"{what}; the first 8 digits or more if unique"
        )
    parser.add_argument(
        "--move-out",
        metavar=("ID", "FILE"),
        nargs=2,
        action="append",
        default=[],
        help="have a node run elsewhere; FILE gets its secret keys",
    )
    parser.add_argument(
        "--at",
        metavar="NUMBER=ADDRESS",
        type=_located,
        action="append",
        default=[],
        help="where a node that has moved out answers: tcp:HOST:PORT",
    )
    return parser


def _located(pair: str) -> tuple[int, str]:
    """The number of a node and its address."""
    number, equals, address = pair.partition("=")
    if not equals or not number.isascii() or not number.isdecimal() or len(number) > 4:
        raise argparse.ArgumentTypeError(f"{pair!r} is not NUMBER=ADDRESS")
    return int(number), address


def _validator(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "validator",
        "run nodes that have moved out of a city, until it is ended",
        "Says where it answers, then votes and holds for the city until Ctrl-C or SIGTERM. It keeps its own ledger. "
        "Without --jwks it authenticates nobody who connects: listen on a loopback address or a private network. With "
        "it, nothing is done for anybody but the city, which shows the token in the file that CITY_CHAIN_TOKEN_FILE "
        "names. FILE is written again at the first start; where the data are lost, the node votes for nothing until "
        "the next epoch.",
        "validator node.secret --data node.db --listen tcp:127.0.0.1:7103",
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", type=file, help="what nodes --move-out wrote, one for each node"
    )
    parser.add_argument("--data", metavar="FILE", type=file, required=True, help="where this process keeps its data")
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        default="tcp:127.0.0.1:0",
        help="where to answer (default: %(default)s, a free port)",
    )
    parser.add_argument(
        "--ntp",
        metavar="HOST[:PORT]",
        action="append",
        help="go by this time server, not by the system's clock (repeatable; of four, one may be false)",
    )
    for flag, metavar, what in (
        ("--jwks", "FILE", "want a token with every message, signed with one of these keys (read again now and then)"),
        ("--issuer", "NAME", "who issues the tokens: their iss"),
        ("--audience", "NAME", "for whom they are to be: their aud"),
    ):
        parser.add_argument(flag, metavar=metavar, type=file if metavar == "FILE" else str, help=what)
    return parser


def _elect(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "elect",
        "begin the next epoch, with other delegates or the same",
        "A quorum of the delegates in office certifies it. The city's public keys stay; the delegates' shares of them "
        "are fresh. Receipts of all epochs verify against the trust anchor, which is written again: give it to "
        "whoever checks receipts. Whatever fails, one epoch or the other is whole.",
        "--city town elect",
        "--city town elect --delegates 7",
        "--city town elect --node 5d3c8a11 --node 0b77e2f9",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--delegates", type=int, metavar="N", help="how many of the nodes that run (default: as many as there are)"
    )
    who.add_argument(
        "--node",
        dest="nodes",
        metavar="ID",
        action="append",
        default=[],
        help="a delegate of the next epoch; the first 8 digits or more if unique",
    )
    return parser


def _doctor(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "doctor",
        "what this machine and this city stand on",
        "Versions, CPU features, whether storage is durable, free space, and the clock: who keeps it, by the kernel's "
        "and a PTP daemon's word, and with --ntp how far several time servers say that it is off. What cannot be found "
        "out is called unknown.",
        "--city town doctor",
        "doctor --ntp time1.example --ntp time2.example --ntp 192.0.2.1:123",
    )
    parser.add_argument("--ntp", metavar="HOST[:PORT]", action="append", help="ask this time server too (repeatable)")
    return parser


def _demo(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "demo",
        "disperse real files, damage them, restore them, prove it",
        "Twenty nodes in three districts, four delegates, 6 of 10 fragments restore. Sends all files, stops nodes for "
        "good, flips bits in every fragment that another holds, receives and compares every byte, repairs, and "
        "verifies all receipts in a second process. Exit status 0 only if all was right.",
        "demo ~/Documents",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        type=file,
        nargs="*",
        help="files, or folders with all that is in them (default: every .py file of Python's standard library)",
    )
    parser.add_argument("--keep", metavar="DIR", type=folder, help="make the city in DIR and leave it there")
    parser.add_argument(
        "--stop",
        metavar="N",
        type=int,
        default=3,
        help="how many nodes to stop (default: 3; with the corrupt one that is all that 6 of 10 survives)",
    )
    return parser


def _keygen(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "keygen",
        "make a secret key and its public key, each in a file",
        "NAME.key holds the secret key, encrypted under a passphrase; NAME.pub the public key, which you give away: "
        f"others send --seal NAME.pub, and receive --key NAME.key opens it. {_PASSPHRASES} There it is asked for "
        "twice. Whoever loses the file or its passphrase can open nothing any more; nobody can help.",
        "keygen alice",
        "keygen alice --passphrase-file secret.txt",
        "keygen notary --kind ml-dsa-65",
    )
    parser.add_argument("name", metavar="NAME", type=file, help="the name of both files, without .key and .pub")
    parser.add_argument(
        "--kind",
        choices=KEY_KINDS,
        default=KEY_KINDS[0],
        help="x-wing and sntrup761-x25519 (experimental) open what is sealed, ml-dsa-* sign (default: %(default)s)",
    )
    protection = parser.add_mutually_exclusive_group()
    protection.add_argument(
        "--passphrase-file", metavar="FILE", type=file, help="a file whose one line is the passphrase; - is stdin"
    )
    protection.add_argument(
        "--no-passphrase",
        action="store_true",
        help="leave the secret as it is: it is used only while nobody else may read the file (mode 0600)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write over files that are there: what was sealed to the key in them can never be opened again",
    )
    return parser


def _inspect(commands: Commands) -> argparse.ArgumentParser:
    parser = _command(
        commands,
        "inspect",
        "show what a file is and what it says",
        "Any record, receipt, trust anchor, key file, node file or fragment file. Times are shown as numbers and in "
        "UTC. Nothing is verified (city-chain verify does that), and no secret is shown. Exit status 1 if a file is "
        "unknown or damaged.",
        "inspect town/receipts/3f9a….receipt alice.pub",
        "inspect --json town/trust.anchor",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=file, help="a file; - is stdin")
    return parser


def _ec(commands: Commands) -> None:
    """The commands that encode files by themselves, without any city."""
    parser = commands.add_parser(
        "ec",
        help="encode files of any size into fragments, and restore them; needs no city",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.fill(
            "Encodes files of any size so that any k of n fragment files restore them. Every block is checked against "
            "its hash before it counts, so files that are damaged in different places restore each other. Memory stays "
            "bounded. Folders are worked through with all that is in them.",
            88,
        ),
        epilog=_EC_EXAMPLES,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    encode = _ec_action(
        actions,
        "encode",
        "make fragment files",
        "A file gets a folder FILE.ec with n fragment files; spread them over disks or machines as you like. One line "
        "for each file: its root, its name, its folder. The root stands for every byte: keep the lines elsewhere if "
        "others can write to the fragments, and give them to --roots. Links and special files in folders are left out.",
        ["encode photos -o backup > photos.roots", "encode film.mkv -k 10 -n 14", "encode photos --parity-only"],
    )
    encode.add_argument(
        "paths", metavar="PATH", nargs="+", type=file, help="a file, or a folder with all that is in it"
    )
    encode.add_argument("-k", type=int, default=6, metavar="N", help="fragments that restore a file (default: 6)")
    encode.add_argument("-n", type=int, default=10, metavar="N", help="fragments there are, at most 256 (default: 10)")
    encode.add_argument(
        "-o", "--output", metavar="DIR", type=folder, help="where to make them (default: beside the file)"
    )
    encode.add_argument(
        "--parity-only",
        action="store_true",
        help="leave the data in the file, and make the n - k parity fragments alone: they mend the file in its place",
    )
    encode.add_argument("--force", action="store_true", help="write over fragments that are there")
    decode = _ec_action(
        actions,
        "decode",
        "restore files",
        "Each file appears whole or not at all. Fragment files may have any names; folders that hold different "
        "fragments of one file are taken together. Without -o a file goes beside its folder of fragments, and to the "
        "current folder if fragment files were named one by one.",
        [
            "decode backup -o restored --roots photos.roots",
            "decode disk1 disk2 disk3 -o restored",
            "decode film.mkv.ec",
        ],
    )
    _ec_sets(decode)
    decode.add_argument(
        "-o", "--output", metavar="DIR", type=folder, help="where to restore; it is made if it is not there"
    )
    decode.add_argument("--force", action="store_true", help="write over files that are there")
    verify = _ec_action(
        actions,
        "verify",
        "read every byte and tell which are right",
        "Whole: every byte of all fragments is right; degraded: it can be restored, and repair makes it whole; lost: "
        "some stripe has too few blocks. Exit status 1 if anything is not whole.",
        ["verify backup", "verify backup --roots photos.roots"],
    )
    _ec_sets(verify)
    repair = _ec_action(
        actions,
        "repair",
        "make fragment files anew that are absent or damaged",
        "They become byte for byte what they were. Exit status 1 if anything could not be made whole.",
        ["repair backup", "repair photos --force"],
    )
    _ec_sets(repair)
    repair.add_argument(
        "--force",
        action="store_true",
        help="with --parity-only sets: write the original back as it was encoded, where it is damaged or was changed",
    )
    for each in (encode, decode, repair):
        each.add_argument(
            "--no-sync",
            action="store_true",
            help="faster with many files; what is written may not survive a loss of power",
        )


_EC_EXAMPLES = """Examples:
  city-chain ec encode photos -o backup > photos.roots
  city-chain ec verify backup --roots photos.roots
  city-chain ec repair backup
  city-chain ec decode backup -o restored --roots photos.roots

city-chain ec ACTION --help says more."""


def _ec_action(
    actions: Commands, name: str, summary: str, more: str, examples: Sequence[str]
) -> argparse.ArgumentParser:
    return action(actions, "ec", name, summary, more, examples)


def _ec_sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=file,
        help="a folder with fragments in it, at any depth, or a fragment file",
    )
    parser.add_argument("--roots", metavar="FILE", help="what encode printed: nothing with another root is accepted")
    parser.add_argument("--original", metavar="FILE", type=file, help="the original or what is left of it, of one file")
