"""Overlays across the boundary: what the experiments give, that they repeat, can be stopped, and refuse."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import pytest

from city_chain import _native, sim
from city_chain.errors import InputError, UnavailableError
from city_chain.sim import overlay_labs
from city_chain.sim.overlay import DETECTIONS, Overlay, eclipse

pytestmark = pytest.mark.ffi

CLOSED, ON_SEND = DETECTIONS


@pytest.fixture(scope="module")
def overlay() -> Overlay:
    return Overlay(nodes=500, cycles=10, seed=3)


def test_the_steady_state(overlay: Overlay) -> None:
    steady = overlay.steady()
    assert steady.components == 1
    assert steady.symmetric == 1
    assert 4.5 < steady.degree <= 5
    assert steady.in_degree_least >= 1
    assert steady.in_degree_most == 5
    assert 3.5 < steady.shortest_path < 5
    assert 2.5 < steady.flood_rmr <= 3
    assert steady.flood_last_hop > steady.shortest_path
    assert steady.clustering < 0.02
    assert 20 < steady.passive <= 30


def test_how_failures_are_seen_makes_the_difference(overlay: Overlay) -> None:
    closed, on_send = overlay.crashes([(80, CLOSED), (80, ON_SEND)])
    assert closed.left == on_send.left == 100
    assert closed.reliability > 0.9
    assert on_send.reliability < closed.reliability - 0.1


def test_what_was_torn_comes_together(overlay: Overlay) -> None:
    rejoined = overlay.rejoin(95)
    assert (rejoined.nodes, rejoined.components) == (25, 1)
    healed = overlay.partition(cut=10)
    assert healed.components_then == 2
    assert healed.components == 1
    assert healed.one_us is not None


def test_trees_cost_one_copy_for_each_node(overlay: Overlay) -> None:
    trees = overlay.trees(5)
    assert [means.reliability for means in trees] == [1.0] * 3
    assert trees.first.rmr == pytest.approx(overlay.steady().flood_rmr, abs=0.3)
    assert trees.single.rmr < 0.02
    assert trees.single.sent == 5
    assert trees.single.last_us == pytest.approx(trees.single.last_hop * 10_000, rel=0.5)


def test_a_tree_heals(overlay: Overlay) -> None:
    [closed] = overlay.heal([(50, CLOSED)])
    assert closed.left == 250
    assert closed.first <= closed.last == 1.0
    assert closed.healed_us < 10_000_000


def test_memory_is_flat_when_neighbours_make_up_ids(overlay: Overlay) -> None:
    less, more = overlay.fabricated(50_000), overlay.fabricated(500_000)
    assert (less.announced, more.announced) == (50_000, 500_000)
    assert more.awaited == less.awaited <= 10_000
    assert more.outbox <= 2 * less.outbox
    assert more.awaited_after == 0
    assert more.reached == 500


def test_attackers_do_not_eclipse() -> None:
    row = eclipse(nodes=500, cycles=10, seed=3)
    assert (row.honest, row.attackers) == (475, 25)
    assert row.eclipsed <= 2
    assert row.largest >= 400


def test_a_seed_gives_the_same_numbers_again_and_another_one_others() -> None:
    one, same, other = (Overlay(nodes=80, cycles=3, seed=seed) for seed in (1, 1, 2))
    assert one.steady() == same.steady() != other.steady()
    assert one.crashes([(60, CLOSED), (60, ON_SEND)]) == same.crashes([(60, CLOSED), (60, ON_SEND)])
    assert eclipse(80, 3, 5, 10) == eclipse(80, 3, 5, 10)


def test_progress_is_told_and_can_stop_it() -> None:
    shares: list[float] = []
    Overlay(nodes=300, cycles=20, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    class StopError(Exception):
        pass

    def stop(share: float) -> None:
        raise StopError

    with pytest.raises(StopError):
        Overlay(nodes=20_000, cycles=1_000, on_progress=stop)


CALLS: list[Callable[[Overlay, Any], object]] = [
    lambda _, p: Overlay(p, 0),
    lambda _, p: Overlay(2, p),
    lambda _, p: Overlay(2, 0, p),
    lambda o, p: o.crash(p),
    lambda o, p: o.crash(1, p),
    lambda o, p: o.crashes([(p, CLOSED)]),
    lambda o, p: o.crashes([p]),
    lambda o, p: o.rejoin(p, 1),
    lambda o, p: o.rejoin(1, p),
    lambda o, p: o.partition(p, 1),
    lambda o, p: o.partition(1, p),
    lambda o, p: o.trees(p),
    lambda o, p: o.heal([(p, CLOSED)]),
    lambda o, p: o.heal([(1, p)]),
    lambda o, p: o.fabricated(p),
    lambda _, p: eclipse(p, 0),
    lambda _, p: eclipse(2, p),
    lambda _, p: eclipse(2, 0, p),
    lambda _, p: eclipse(2, 0, 1, p),
    lambda _, p: list(sim.hyparview(p, 0)),
    lambda _, p: list(sim.plumtree(p, 0)),
]

POISONS = [None, object(), True, 1.5, float("nan"), -1, 2**17, 2**32, 2**64, 10**40, "x", "\ud800", b"x", [], (1, 2)]
POISONS += [array.array("d", [1.0]), {}]


@pytest.mark.parametrize("call", CALLS)
def test_poisons_are_refused(call: Callable[[Overlay, Any], object]) -> None:
    small = Overlay(nodes=2, cycles=0)
    for poison in POISONS:
        try:
            call(small, poison)
        except (TypeError, InputError):
            continue
        assert isinstance(poison, int), poison  # one that is in range


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda o: Overlay(1), "2 to 50000"),
        (lambda o: Overlay(50_001), "2 to 50000"),
        (lambda o: Overlay(2, 10_001), "10000"),
        (lambda o: o.crash(100), "99"),
        (lambda o: o.rejoin(100), "99"),
        (lambda o: o.partition(10_001), "10000"),
        (lambda o: o.trees(1_001), "1000"),
        (lambda o: o.heal([(100, CLOSED)]), "99"),
        (lambda o: o.crash(1, "guessed"), "guessed"),
        (lambda o: eclipse(2, 0, percent=51), "50"),
    ],
)
def test_what_is_out_of_range_is_named(call: Callable[[Overlay], object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        call(Overlay(nodes=2, cycles=0))


def test_rows_have_verdicts_at_the_size_that_is_expected_only() -> None:
    lab = overlay_labs._Lab(10_000, 50, None)
    assert lab.row("x", 0.99, 1.0, 0.02)["ok"] is True
    assert lab.row("x", 0.97, 1.0, 0.02)["ok"] is False
    assert lab.row("x", 0.97)["ok"] is None
    other = overlay_labs._Lab(9_999, 50, None)
    assert other.row("x", 0.97, 1.0, 0.02)["ok"] is None
    assert other.most("x", 2, 1)["ok"] is False
    assert list(other.most("x", 1, 1)) == [
        "measure",
        "failures",
        "paper",
        "expected",
        "measured",
        "tolerance",
        "ok",
    ]


def test_a_stopped_experiment_says_so() -> None:
    watch = _native.SimWatch()
    watch.stop()
    with pytest.raises(UnavailableError, match="stopped"):
        _native.SimOverlay(100, 0, 1, watch)
    assert watch.seen()[0] == 1
