"""Crossings: transactions that touch keys of several cities, and are done in all of them or in none.

=========  ===========================================================================================================
step       what is done
=========  ===========================================================================================================
``begin``  transaction and manifest are written down
``home``   the transaction is dispersed and committed in its home city
``vote``   a city rules: prepared, which locks its keys, or abort; in ascending order, so that of two transactions that
           want each other's keys one wins; the last city decides, with the word of all others before it
``end``    the outcome is known for certain, and written down
``close``  a city is told the outcome: its keys are free, their versions have advanced
``tell``   the city that decided is told that another one has let go
``done``   nothing is left to do
=========  ===========================================================================================================

Every step can be done again with the same result, by whoever holds the manifest: whoever drives remembers nothing that
could not be asked of the cities again. A city that is silent until the expiry ends it: the last city then says whether
it was committed before.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from city_chain import records
from city_chain.algorithms import sc
from city_chain.errors import DeadlineError, ProtocolError, UnavailableError, VerificationError
from city_chain.levels.city import City
from city_chain.levels.cross_receipt import AbortedError, CrossReceipt
from city_chain.levels.layouts import Layouts
from city_chain.levels.rulings import certify, need_shard, rule
from city_chain.levels.steps import Step, Steps
from city_chain.levels.world_store import Begun, WorldStore
from city_chain.node.sharding import SILENT
from city_chain.ports import Clock

__all__ = ["Crossings", "Step"]

_PAUSE_S = 0.02
_log = logging.getLogger("city_chain")


class Crossings:
    """Drives the crossings of one world.

    Args:
        layouts: Its cities, and which of them has a key.
        store: Where what is begun is written down.
        running: Gives a city that runs.
        clock: Physical and monotonic time.
        steps: Hears of steps.
    """

    def __init__(
        self, layouts: Layouts, store: WorldStore, running: Callable[[str], City], clock: Clock, steps: Steps
    ) -> None:
        self.layouts = layouts
        self.step = steps.take
        self._store = store
        self._running = running
        self._clock = clock

    # --- one crossing ------------------------------------------------------------------------------------------------

    def begin(
        self,
        make: Callable[[bytes], records.Transaction],
        home: str,
        inputs: Iterable[bytes],
        outputs: Iterable[bytes],
        expires_s: float,
        deadline: float = 0.0,
    ) -> Begun:
        """Writes a crossing down, before anything of it is sent.

        Args:
            make: Makes the transaction that says what is to be done, once it is known that its terms can be begun with.
            home: Where it is dispersed.
            inputs: Digests of the keys that it reads and writes.
            outputs: Digests of the keys that it writes whatever is there.
            expires_s: When it is given up, seconds from now.
            deadline: Until when to wait for keys that are on their way to another city, on the monotonic clock.

        Raises:
            InputError: There are no keys or too many, or one is there twice.
            UnavailableError: A city that it touches does not run, or a key is on its way to another one.
        """
        layout, reads, writes = self._placed(list(inputs), list(outputs), deadline)
        expiry = self._clock.now_ms() + math.ceil(expires_s * 1000)

        def manifest(body: bytes) -> sc.Manifest:
            return sc.Manifest(self.layouts.chain, layout.since, body, expiry, reads, writes)

        terms = manifest(bytes(32)).terms  # what cannot be done takes no number of the sender's
        transaction = make(terms)
        begun = Begun(home, transaction, manifest(transaction.tx_id).to_bytes())
        self.step(begun.tx_id, "begin")
        self._store.begin(begun)
        return begun

    def _placed(
        self, inputs: Sequence[bytes], outputs: Sequence[bytes], deadline: float
    ) -> tuple[sc.Layout, list[tuple[int, bytes, int]], list[tuple[int, bytes]]]:
        """The newest layout, the inputs with their shards and versions, and the outputs with their shards."""
        pause = threading.Event()
        layout = self.layouts.layout()
        while any(self.layouts.is_on_its_way(digest, layout) for digest in inputs) and not self.is_up(deadline):
            pause.wait(_PAUSE_S)
            layout = self.layouts.layout()
        reads = [(layout.shard_of(digest), digest, self.layouts.version(digest, layout)) for digest in inputs]
        return layout, reads, [(layout.shard_of(digest), digest) for digest in outputs]

    def end(self, begun: Begun, deadline: float) -> None:
        """Drives a crossing to its end, whichever it is; what is silent is left for another time."""
        with suppress(AbortedError, UnavailableError, DeadlineError):
            self.drive(begun, deadline)

    def drive(self, begun: Begun, deadline: float, *, patient: bool = True) -> CrossReceipt:
        """Drives a crossing to its end, from wherever it is.

        Args:
            begun: What was begun.
            deadline: When to give up for now, on the monotonic clock.
            patient: Whether a city that does not run is waited for, until the crossing expires or the time is up.

        Returns:
            Its receipt. A city that could not be told yet is told by `World.resume`.

        Raises:
            AbortedError: It is aborted.
            UnavailableError: A city or too many of its delegates are silent; it is not ended.
            DeadlineError: The time was up; it is not ended.
        """
        self.step(begun.tx_id, "home", begun.home)
        receipt = self._running(begun.home).send(begun.transaction, deadline_s=self._left(deadline))
        drive = _Drive(self, begun, patient)
        drive.decide(deadline)
        self.step(begun.tx_id, "end")
        if drive.coordinator.outcome == "committed":
            words = tuple(word.to_bytes() for word in drive.votes)
            crossed = CrossReceipt(begun.home, receipt, begun.manifest, words, begun.head)
            self._store.end(begun.tx_id, crossed.to_bytes())
            drive.close(deadline)
            return crossed
        ending = drive.words[-1].statement
        aborted = AbortedError(begun.tx_id, self.layouts.name_of(ending.shard), self._why(drive.manifest, ending))
        self._store.fail(begun.tx_id, aborted.city, aborted.why)
        drive.close(deadline)
        raise aborted

    def close(self, begun: Begun) -> None:
        """Nothing is left to do for a crossing."""
        self.step(begun.tx_id, "done")
        self._store.forget(begun.tx_id)

    def word(
        self, shard: int, command: sc.Command, deadline: float, *, warrant: bytes = b"", again: bool = False
    ) -> sc.Certificate | None:
        """A city's certificate of what it says to a command; None if it says nothing."""
        city = self.layouts.at(shard)
        ruling = rule(city, command.to_bytes(), deadline, warrant=warrant, again=again)
        if ruling is None or ruling.statement == SILENT:
            return None
        return sc.Certificate.from_bytes(certify(city, ruling, deadline))

    def _why(self, manifest: sc.Manifest, ending: sc.Statement) -> str:
        """Why a city has refused a crossing, as far as its state tells now."""
        if ending.verdict == "expired":
            return "it expired before every city was prepared"
        shard = ending.shard
        if manifest.layout < self.layouts.layout().since:
            return "cities came or left before every city was prepared: send it again"
        try:
            there = need_shard(self.layouts.at(shard)._city)
        except UnavailableError:
            return "it says abort, and does not run any more"
        for of, digest, seen in manifest.inputs:
            version = there.version(digest)
            if of == shard and version != seen:
                return f"key {digest.hex()[:16]} is at version {version}, the transaction saw {seen}"
        for of, digest in [(of, digest) for of, digest, _ in manifest.inputs] + list(manifest.outputs):
            holder = there.holder(digest)
            if of == shard and holder is not None and holder != manifest.txid:
                return f"key {digest.hex()[:16]} is locked by crossing {holder.hex()[:16]}"
        return "it had refused it before, or had expired"

    def expires_at(self, manifest: sc.Manifest) -> float:
        """When a crossing expires, on the monotonic clock."""
        return self._clock.monotonic() + max(self.left_ms(manifest), 0) / 1000 + _PAUSE_S

    def left_ms(self, manifest: sc.Manifest) -> int:
        """How long a crossing may still be prepared, milliseconds."""
        return manifest.expiry - self._clock.now_ms()

    def is_up(self, deadline: float) -> bool:
        """Whether there is no time for another try."""
        return self._clock.monotonic() + _PAUSE_S >= deadline

    def _left(self, deadline: float) -> float:
        left_s = deadline - self._clock.monotonic()
        if left_s <= 0:
            raise DeadlineError("the time for the crossing is up; World.resume goes on with it")
        return left_s


class _Drive:
    """One crossing on its way."""

    def __init__(self, crossings: Crossings, begun: Begun, patient: bool) -> None:
        self.manifest = sc.Manifest.from_bytes(begun.manifest)
        self.words: list[sc.Certificate] = []
        self._crossings = crossings
        self._begun = begun
        self._patient = patient
        self._pause = threading.Event()

    @property
    def coordinator(self) -> sc.Coordinator:
        """What the cities' words tell. That a city has let go counts as long as no keys have come to it since."""
        layouts = self._crossings.layouts.understood()
        since = layouts[-1].since
        said = [word for word in self.words if word.statement.verdict != "released" or word.statement.epoch >= since]
        return sc.Coordinator(self.manifest, said, layouts)

    @property
    def votes(self) -> list[sc.Certificate]:
        """The Prepared of every city, in the order of the manifest's shards."""
        said = [(word.statement, word) for word in self.words]
        prepared = {statement.shard: word for statement, word in said if statement.verdict == "prepared"}
        return [prepared[shard] for shard in self.manifest.shards]

    @property
    def _is_decided(self) -> bool:
        """Whether the last city is known to have committed it, so that all others have been prepared."""
        return any(
            (word.statement.verdict, word.statement.shard) == ("prepared", self.manifest.decider) for word in self.words
        )

    @property
    def _are_running(self) -> bool:
        """Whether all cities run that it touches."""
        try:
            for shard in self.manifest.shards:
                self._crossings.layouts.at(shard)
        except UnavailableError:
            return False
        return True

    def decide(self, deadline: float) -> None:
        """Asks the cities until the outcome is known.

        Raises:
            UnavailableError: Somebody is silent.
            DeadlineError: The time was up.
        """
        while self.coordinator.outcome is None:
            layout = self._crossings.layouts.layout()
            expired = self._crossings.left_ms(self.manifest) < 0 and not self._is_decided
            todo = [self.coordinator.expire()] if expired else self.coordinator.next(in_order=True)
            try:
                for shard, command in todo:
                    self._ask("vote", shard, command, deadline)
            except ProtocolError as error:
                self._refused(error, layout, deadline)
            except (UnavailableError, DeadlineError):
                if self._crossings.is_up(deadline) or not (self._patient or self._are_running):
                    raise
                self._pause.wait(_PAUSE_S)

    def _refused(self, error: ProtocolError, layout: sc.Layout, deadline: float) -> None:
        """A city that will not vote, because of the time or of another layout: the one that decides may end it."""
        if self._crossings.is_up(deadline):
            why = f"crossing {self._begun.tx_id.hex()} is not decided yet: {error}"
            raise UnavailableError(why, 1, 0) from error
        if self.manifest.layout < layout.since:
            with suppress(ProtocolError):
                decider = self.coordinator.expire()[0]
                self._ask("vote", decider, sc.Command.prepare(self.manifest, self.words), deadline)
        self._pause.wait(_PAUSE_S)

    def close(self, deadline: float) -> None:
        """Tells every city the outcome, and the one that decided who has let go; who is silent is told later.

        While keys move, a lock may be on its way between two cities, and neither of them knows of it: then all are told
        again when it has arrived.
        """
        while True:
            layout = self._crossings.layouts.layout()
            settled = self._is_settled(layout)
            whole = self._tell(deadline)
            same = self._crossings.layouts.layout().since == layout.since
            if settled and same:
                break
            if self._crossings.is_up(deadline):
                return
            self._pause.wait(_PAUSE_S)
        if whole:
            self._crossings.close(self._begun)

    def _is_settled(self, layout: sc.Layout) -> bool:
        """Whether nothing about the crossing can be on its way from one city to another."""
        return self._has_stayed(layout) or self._crossings.layouts.has_settled(self._concerned(layout), layout)

    def _has_stayed(self, layout: sc.Layout) -> bool:
        """Whether no city has come or gone since the crossing was begun."""
        return self.manifest.layout == layout.since

    def _concerned(self, layout: sc.Layout) -> set[int]:
        """The cities that have its keys now, and the one that speaks for the one that decides."""
        digests = [digest for _, digest, _ in self.manifest.inputs] + [digest for _, digest in self.manifest.outputs]
        return {layout.shard_of(digest) for digest in digests} | {self.coordinator.expire()[0]}

    def _todo(self) -> list[tuple[int, sc.Command]]:
        """Whom to tell what. An abort is told to all who have its keys: who has said it may have got others' locks."""
        layouts = self._crossings.layouts.understood()
        todo = self.coordinator.next(in_order=True)
        if self.coordinator.outcome != "aborted" or self._has_stayed(layouts[-1]):
            return todo
        begun = [layout for layout in layouts if layout.epoch == self.manifest.layout]
        as_begun = sc.Coordinator(self.manifest, self.words, [*layouts, *begun]).next(in_order=True)
        told = {shard for shard, _ in todo}
        abort = next((command for _, command in [*todo, *as_begun]), None)
        return todo if abort is None else [*todo, *((at, abort) for at in self._concerned(layouts[-1]) - told)]

    def _tell(self, deadline: float) -> bool:
        """Tells whoever is to be told; whether none of them was silent."""
        told: set[tuple[int, bytes]] = set()
        whole = True
        while True:
            todo = [(shard, command) for shard, command in self._todo() if (shard, command.to_bytes()) not in told]
            if not todo:
                return whole
            for shard, command in todo:
                told.add((shard, command.to_bytes()))
                try:
                    self._ask("tell" if command.kind == "acknowledge" else "close", shard, command, deadline)
                except ProtocolError as error:
                    _log.debug("crossing %s: shard %d: %s", self._begun.tx_id.hex(), shard, error)
                except (UnavailableError, DeadlineError):
                    whole = False

    def _ask(self, step: str, shard: int, command: sc.Command, deadline: float) -> None:
        """Has a city rule about a command, and takes in what it says."""
        self._crossings.step(self._begun.tx_id, step, self._crossings.layouts.name_of(shard))
        # What a city has ruled about a command stays so, but for locks that have come to it since.
        layouts, name = self._crossings.layouts, self._crossings.layouts.name_of(shard)
        newest = layouts.layout()
        again = step != "vote" and not self._has_stayed(newest)
        behind = layouts.shard(name).layouts[-1].epoch < newest.epoch
        warrant = self._begun.head if command.kind == "prepare" else b""
        try:
            word = self._crossings.word(shard, command, self._until(command, deadline), warrant=warrant, again=again)
        except VerificationError as error:
            if not behind:
                raise
            raise UnavailableError(f"city {name!r} has not begun epoch {newest.epoch} yet", 1, 0) from error
        if word is None and command.kind == "commit":  # it was told before, and says so when it is asked again
            word = self._crossings.word(shard, sc.Command.prepare(self.manifest), deadline, again=True)
        if word is not None:
            self.words.append(word)

    def _until(self, command: sc.Command, deadline: float) -> float:
        """A city is waited for until the crossing expires, and no longer."""
        if command.kind != "prepare":
            return deadline
        return min(deadline, self._crossings.expires_at(self.manifest))
