"""What reads: runs a city's reading pipelines over bursts of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import batched
from typing import Any

from city_chain import records
from city_chain.composer import Pipeline
from city_chain.errors import CityChainError, StorageError, UnavailableError
from city_chain.levels.bursts import apart, bursts
from city_chain.levels.checks import checked_id
from city_chain.levels.embedded import Embedded
from city_chain.levels.gate import Gate

__all__ = ["Reads", "payloads_of", "transactions_of"]

_READING_MAX = 256


def payloads_of(run: Mapping[str, Any]) -> list[bytes | CityChainError]:
    """The outcomes of `pipelines.OPENING`.

    Example:
        >>> payloads_of({"payloads": [b"hello"]})
        [b'hello']
    """
    payloads: list[bytes | CityChainError] = run["payloads"]
    return payloads


def transactions_of(run: Mapping[str, Any]) -> list[records.Transaction | CityChainError]:
    """The outcomes of `pipelines.RECEIVING`.

    Example:
        >>> transactions_of({"restored": []})
        []
    """
    lost = UnavailableError("it was not restored", 1, 0)
    return [result.transaction or result.error or lost for result in run["restored"]]


class Reads:
    """The reading of one city. Safe to use from several threads.

    Args:
        city: Its insides.
        gate: Lets readings through while nothing changes the city.
    """

    def __init__(self, city: Embedded, gate: Gate) -> None:
        self._city = city
        self._gate = gate

    def move(self, city: Embedded) -> None:
        """Reads from other insides of the same city from now on: those of its next epoch."""
        self._city = city

    def outcomes[T](
        self,
        pipeline: Pipeline,
        tx_ids: Iterable[bytes],
        deadline_s: float,
        taken: Callable[[Mapping[str, Any]], Sequence[T | CityChainError]],
        **given: Any,
    ) -> list[T | CityChainError]:
        """Runs a receiving pipeline; one outcome each, in order.

        Args:
            pipeline: It gives ``restored``.
            tx_ids: What to receive; the same id may be there twice.
            deadline_s: When to give up a burst, seconds.
            taken: Takes a burst's outcomes out of the pipeline's outputs.
            **given: Inputs of the pipeline that the city does not give.
        """
        wanted = list(tx_ids)
        found: dict[bytes, T | CityChainError] = {}
        for burst, run in self.run(pipeline, wanted, deadline_s, **given):
            if isinstance(run, StorageError):
                found.update(dict.fromkeys(burst, run))
                continue
            self._city.learn_behind(run["restored"])
            found.update(zip(burst, taken(run), strict=True))
        return [found[tx_id] for tx_id in wanted]

    def run(
        self, pipeline: Pipeline, tx_ids: Iterable[bytes], deadline_s: float, **given: Any
    ) -> Iterator[tuple[list[bytes], Mapping[str, Any] | StorageError]]:
        """Runs a reading pipeline over bursts: each with its outputs. A damaged row costs its own transaction only."""
        for some in batched(map(checked_id, tx_ids), _READING_MAX):
            lengths, damaged = self._lengths(some)
            for tx_id, error in damaged.items():
                yield [tx_id], error
            for burst in bursts(lengths, _READING_MAX):
                for once in apart(burst):
                    yield once, self._run_burst(pipeline, once, deadline_s, given)

    def _run_burst(
        self, pipeline: Pipeline, burst: list[bytes], deadline_s: float, given: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        with self._gate.through():
            every = {**self._city.receiving(), **given, "wanted": burst}
            run = pipeline.run(
                {name: every[name] for name in pipeline.inputs},
                deadline=self._city.clock.monotonic() + deadline_s,
                on_stage=self._city.on_stage,
            )
            return run.outputs

    def _lengths(self, tx_ids: Sequence[bytes]) -> tuple[list[tuple[bytes, int]], dict[bytes, StorageError]]:
        """The bytes of each transaction (0 if it is not committed), and those whose rows cannot be read."""
        try:
            placements = self._city.placements(tx_ids)
            lengths = [0 if placement is None else placement.manifest.length for placement in placements]
            return list(zip(tx_ids, lengths, strict=True)), {}
        except StorageError as error:
            if len(tx_ids) == 1:
                return [], {tx_ids[0]: error}
        parts = [self._lengths([tx_id]) for tx_id in tx_ids]
        return [pair for good, _ in parts for pair in good], {k: v for _, bad in parts for k, v in bad.items()}
