"""The keeper: a delegate's part in the city's threshold keys.

It deals when the keys are made or handed on, checks what the others deal, keeps its own shares, and works with them.
What it must not contradict is written before it is said: it signs one key set for an epoch and one handover of it.

=============================  ==================================================================================
key (in the node's own space)  value
=============================  ==================================================================================
``k`` root of an epoch         digest of the key set signed for it, then the node's shares, encrypted
``y``                          the last handover signed: number of the next epoch, height, digest of what was signed
=============================  ==================================================================================

Shares are encrypted under a key that only the node has (see `records.KeyShares`), so the rows show none. A row that is
damaged costs this delegate its part in the keys, and nobody else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from city_chain import records
from city_chain.errors import InputError, ProtocolError, StorageError, VerificationError
from city_chain.ports import Storage
from city_chain.stages import messages

__all__ = ["Keeper"]

_log = logging.getLogger("city_chain")

_DIGEST_LEN = 32
_HANDOVER = b"y"


def _shares_key(root: bytes) -> bytes:
    return b"k" + root


class Keeper:
    """The keeping half of one delegate.

    Args:
        identity: The node's keys.
        storage: The node's own space.

    Example:
        A keeper is made by a node; what it does is seen through a city: see `City.keys` and `City.compress`.
    """

    def __init__(self, identity: records.Identity, storage: Storage) -> None:
        self._identity = identity
        self._storage = storage
        self._lock = threading.Lock()
        self._keys: records.CityKeys | None = None
        self._shares: records.KeyShares | None = None
        self._opened: tuple[records.Dealings, records.KeyShares] | None = None
        self._signed: tuple[int, int, bytes] | None = None
        self._looked = False

    # --- the keys in force -------------------------------------------------------------------------------------------

    @property
    def keys(self) -> records.CityKeys | None:
        """The certified keys that it works under; None before there are some."""
        return self._keys

    def use(self, keys: records.CityKeys) -> None:
        """Works under these certified keys from now on; shares of others are let go."""
        with self._lock:
            if self._keys is None or self._keys.digest != keys.digest:
                self._keys, self._shares = keys, None

    def sign_share(self, message: bytes) -> bytes:
        """Its share of the city's signature over a message.

        Raises:
            ProtocolError: It has no shares of the keys in force.
            StorageError: Its shares are damaged.
        """
        return self._own().sign(message)

    def decrypt_share(self, capsule: bytes, label: bytes) -> bytes:
        """Its share of the opening of what was encrypted to the city.

        Args:
            capsule: The capsule of the ciphertext.
            label: What the ciphertext must have been made for.

        Raises:
            ProtocolError: It has no shares of the keys in force.
            StorageError: Its shares are damaged.
            VerificationError: The capsule is not right, or was made for another label.
        """
        return self._own().decrypt(capsule, label)

    def _own(self) -> records.KeyShares:
        """The shares of the keys in force."""
        with self._lock:
            keys = self._keys
            if keys is None:
                raise ProtocolError("the city has no threshold keys here")
            if self._shares is None:
                self._shares = self._read(keys)
            return self._shares

    def _read(self, keys: records.CityKeys) -> records.KeyShares:
        (row,) = self._storage.get_many([_shares_key(keys.epoch_root)])
        if row is None:
            raise ProtocolError(f"this node has no shares of the keys of epoch {keys.epoch}")
        if row[:_DIGEST_LEN] != keys.digest:
            raise StorageError(f"node {self._identity.id.hex()[:16]}: its key shares are of other keys, or damaged")
        try:
            return records.KeyShares.open(self._identity, keys, row[_DIGEST_LEN:])
        except (InputError, VerificationError) as error:
            _log.error("delegate %s gives no key shares: %s", self._identity.id.hex()[:16], error)
            raise StorageError(f"node {self._identity.id.hex()[:16]}: its key shares are damaged: {error}") from error

    # --- making them and handing them on -----------------------------------------------------------------------------

    def recipient(self, network: bytes) -> records.Recipient:
        """Where its shares may be sealed to."""
        return records.Recipient(self._identity, network)

    def deal(
        self, epoch: records.Epoch, recipients: Sequence[records.Recipient], handed_on: records.CityKeys | None
    ) -> records.Dealing:
        """Its dealing to the delegates of an epoch.

        Args:
            epoch: The epoch that the keys are for.
            recipients: Where its delegates' shares may be sealed to; who is left out is dealt nothing.
            handed_on: The keys to hand on; None where new ones are made.

        Raises:
            ProtocolError: Keys are made already, it has nothing to hand on, or the keys handed on are not in force.
            InputError: A recipient is no delegate of the epoch.
            VerificationError: A recipient's signature is wrong.
        """
        if handed_on is None:
            if self._keys is not None:
                raise ProtocolError(f"deal: the keys of epoch {self._keys.epoch} are made already")
            return records.Dealing.deal(self._identity, epoch, recipients)
        if self._keys is None or self._keys.digest != handed_on.digest:
            raise ProtocolError("deal: the keys to hand on are not those in force here")
        return records.Dealing.reshare(self._identity, epoch, recipients, handed_on, self._own())

    def faults(self, dealings: records.Dealings) -> list[tuple[bytes, str]]:
        """The dealers whose share for this delegate is wrong, and what is wrong with it."""
        shares, faults = dealings.open(self._identity)
        if shares is not None:
            with self._lock:
                self._opened = dealings, shares
        return faults

    def rows(self, dealings: records.Dealings) -> dict[bytes, bytes]:
        """What must be durable before this delegate signs the keys that the dealings make.

        Raises:
            ProtocolError: It has signed another key set for the epoch, another one is certified, or a dealer gave it a
                wrong share.
        """
        keys = dealings.keys
        certified = self._keys
        if certified is not None and certified.epoch >= keys.epoch and certified.digest != keys.digest:
            raise ProtocolError(f"adopt: the keys of epoch {certified.epoch} are certified, and are others")
        key = _shares_key(keys.epoch_root)
        (row,) = self._storage.get_many([key])
        if row is not None:
            if row[:_DIGEST_LEN] != keys.digest:
                raise ProtocolError(f"adopt: this delegate has signed another key set for epoch {keys.epoch}")
            return {}
        with self._lock:
            opened = self._opened
        if opened is None or opened[0] is not dealings:
            shares, faults = dealings.open(self._identity)
            if shares is None:
                raise ProtocolError(f"adopt: {'; '.join(f'{dealer.hex()[:8]}: {why}' for dealer, why in faults)}")
            opened = dealings, shares
        return {key: keys.digest + opened[1].seal(self._identity)}

    def sign(self, dealings: records.Dealings) -> bytes:
        """Its signature of the keys that the dealings make; the rows are durable."""
        with self._lock:
            self._opened = None
        return dealings.keys.sign(self._identity)

    # --- handing over ------------------------------------------------------------------------------------------------

    def handover_rows(self, election: records.Election, keys: records.CityKeys, tip: int) -> dict[bytes, bytes]:
        """What must be durable before this delegate signs the handover.

        Args:
            election: What was called for; judged.
            keys: The keys of the next epoch; judged.
            tip: The height of the ledger's last batch.

        Raises:
            ProtocolError: It has signed another handover, after which this one cannot be.
            StorageError: What it signed before cannot be read.
        """
        digest = records.Handover.message(election, keys)
        signed = self._handover()
        if signed is not None and signed[0] == election.next.number:
            if signed[2] == digest:
                return {}
            # A batch behind the height of the one that was signed shows that it was never certified, and never will be.
            if tip <= signed[1]:
                raise ProtocolError(
                    f"hand over: this delegate has signed another handover to epoch {election.next.number}"
                )
        head = messages.integer(election.next.number) + messages.integer(election.height)
        return {_HANDOVER: head + digest}

    def sign_handover(self, election: records.Election, keys: records.CityKeys) -> bytes:
        """Its signature of the handover; the rows are durable."""
        self._signed = election.next.number, election.height, records.Handover.message(election, keys)
        return records.Handover.sign(self._identity, election, keys)

    def is_resting(self, number: int, tip: int) -> bool:
        """Whether it has signed the handover to epoch `number` after the ledger's last batch: it votes no more then."""
        signed = self._handover()
        return signed is not None and signed[:2] == (number, tip)

    def _handover(self) -> tuple[int, int, bytes] | None:
        if not self._looked:
            (row,) = self._storage.get_many([_HANDOVER])
            if row is not None and len(row) != 16 + _DIGEST_LEN:
                raise StorageError(f"node {self._identity.id.hex()[:16]}: the handover that it signed cannot be read")
            if row is not None:
                self._signed = messages.integer_of(row[:8]), messages.integer_of(row[8:16]), row[16:]
            self._looked = True
        return self._signed

    def stale(self, keep: Sequence[bytes]) -> list[bytes]:
        """The rows of shares of all epochs but those with the roots in `keep`: to be deleted."""
        wanted = {_shares_key(root) for root in keep}
        return [key for key, _ in self._storage.scan(b"k") if key not in wanted]
