"""``city-chain keygen NAME``: a new secret key in a file of its own, and its public key in another."""

from __future__ import annotations

import argparse
from pathlib import Path

from city_chain.cli.console import Console, text
from city_chain.cli.key_files import KEY_SUFFIX, PUBLIC_SUFFIX, new_passphrase, write_pair
from city_chain.cli.place import check_free, mode_for
from city_chain.records import KeyFile

__all__ = ["run"]


def run(args: argparse.Namespace, console: Console) -> int:
    """Draws the key and writes both files, or neither."""
    name = args.name.removesuffix(KEY_SUFFIX)
    secret, public = Path(name + KEY_SUFFIX), Path(name + PUBLIC_SUFFIX)
    for path in (secret, public):  # before anything is asked
        check_free(path, over=args.force)
    passphrase = None if args.no_passphrase else new_passphrase(args.passphrase_file, text(secret))
    key = KeyFile.generate(args.kind, passphrase)
    files = [(secret, key.to_bytes(), 0o600), (public, key.public.to_bytes(), mode_for(public))]
    write_pair(files, over=args.force)
    if args.json:
        console.json(
            {
                "key": text(secret),
                "public": text(public),
                "kind": key.kind,
                "id": key.id.hex(),
                "encrypted": key.is_encrypted,
            }
        )
        return 0
    how = "encrypted under the passphrase" if key.is_encrypted else "not encrypted: keep it where only you can read it"
    console.say(f"made a key of kind {key.kind}, id {key.id.hex()}")
    console.say(f"  {text(secret)}  the secret key, {how}")
    console.say(f"  {text(public)}  the public key, for everybody")
    return 0
