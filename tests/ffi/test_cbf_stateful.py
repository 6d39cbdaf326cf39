"""A cuckoo filter against a multiset, and a Bloom filter against a set, step by step."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from city_chain import cbf
from city_chain.errors import InputError, UnavailableError

pytestmark = pytest.mark.ffi

KEYS = st.integers(0, 40).map(lambda number: b"key %d" % number)
BATCHES = st.lists(KEYS, max_size=30)
SEEDS = st.integers(0, 2**64 - 1)
CAPACITY = 90


class CuckooAgainstAMultiset(RuleBasedStateMachine):
    @initialize(seed=SEEDS)
    def start(self, seed: int) -> None:
        self.cuckoo, self.model = cbf.Cuckoo(CAPACITY, seed=seed), Counter[bytes]()

    def refused(self, before: bytes, keys: list[bytes], error: InputError | UnavailableError) -> None:
        """A refusal has a reason, and leaves every byte as it was."""
        assert self.cuckoo.to_bytes() == before
        wanted = self.model + Counter(keys)
        if isinstance(error, UnavailableError):
            # More than it was made for; or other keys with the same two buckets have filled both.
            assert wanted.total() > CAPACITY or wanted.total() > 8
        else:
            # Eight equal fingerprints in two buckets: one key eight times, or two that only look the same.
            assert wanted.total() > 8
            assert wanted.most_common(1)[0][1] >= 5

    @rule(key=KEYS)
    def insert(self, key: bytes) -> None:
        before = self.cuckoo.to_bytes()
        try:
            self.cuckoo.insert(key)
        except (InputError, UnavailableError) as error:
            self.refused(before, [key], error)
        else:
            self.model[key] += 1
            assert self.model[key] <= 8

    @rule(keys=BATCHES, packed=st.booleans())
    def insert_many(self, keys: list[bytes], packed: bool) -> None:
        before = self.cuckoo.to_bytes()
        try:
            if packed:
                keys = [key.ljust(8) for key in keys]
                self.cuckoo.insert_many(b"".join(keys), width=8)
            else:
                self.cuckoo.insert_many(keys)
        except (InputError, UnavailableError) as error:
            self.refused(before, keys, error)
        else:
            self.model.update(keys)

    @rule(key=KEYS)
    def remove(self, key: bytes) -> None:
        before = self.cuckoo.to_bytes()
        if self.model[key]:
            self.cuckoo.remove(key)
            self.model[key] -= 1
        elif key not in self.cuckoo:
            with pytest.raises(InputError, match="cannot be removed"):
                self.cuckoo.remove(key)
            assert self.cuckoo.to_bytes() == before

    @rule(key=KEYS)
    def fill_up_with_one(self, key: bytes) -> None:
        try:
            while self.model[key] < 8:
                self.cuckoo.insert(key)
                self.model[key] += 1
        except (InputError, UnavailableError) as error:
            self.refused(self.cuckoo.to_bytes(), [key], error)
        else:
            before = self.cuckoo.to_bytes()
            with pytest.raises((InputError, UnavailableError)):
                self.cuckoo.insert(key)
            assert self.cuckoo.to_bytes() == before

    @rule()
    def restart(self) -> None:
        again = cbf.Cuckoo.from_bytes(self.cuckoo.to_bytes())
        assert again.to_bytes() == self.cuckoo.to_bytes()
        self.cuckoo = again

    @invariant()
    def it_denies_nothing_that_it_holds(self) -> None:
        held = [key for key, copies in self.model.items() if copies]
        assert len(self.cuckoo) == self.model.total()
        assert all(key in self.cuckoo for key in held)
        assert int.from_bytes(self.cuckoo.contains_many(held), "little").bit_count() == len(held)
        assert self.cuckoo.saturated == (self.model.total() == CAPACITY)


class BloomAgainstASet(RuleBasedStateMachine):
    @initialize(seed=SEEDS)
    def start(self, seed: int) -> None:
        self.seed, self.bloom, self.model = seed, cbf.Bloom(60, 0.01, seed=seed), set[bytes]()

    @rule(key=KEYS)
    def insert(self, key: bytes) -> None:
        if self.bloom.insert(key):
            assert key not in self.model
        self.model.add(key)

    @rule(keys=BATCHES)
    def insert_many(self, keys: list[bytes]) -> None:
        assert self.bloom.insert_many(keys) <= len(set(keys) - self.model)
        self.model.update(keys)

    @rule(keys=BATCHES)
    def unite(self, keys: list[bytes]) -> None:
        other = cbf.Bloom(60, 0.01, seed=self.seed)
        other.insert_many(keys)
        self.bloom = self.bloom | other
        self.model.update(keys)

    @rule()
    def restart(self) -> None:
        self.bloom = cbf.Bloom.from_bytes(self.bloom.to_bytes())

    @invariant()
    def it_is_the_filter_of_the_set(self) -> None:
        built = cbf.Bloom(60, 0.01, seed=self.seed)
        built.insert_many(sorted(self.model))
        assert built.to_bytes() == self.bloom.to_bytes()
        assert all(key in self.bloom for key in self.model)


class TestCuckooAgainstAMultiset(CuckooAgainstAMultiset.TestCase):
    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class TestBloomAgainstASet(BloomAgainstASet.TestCase):
    settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
