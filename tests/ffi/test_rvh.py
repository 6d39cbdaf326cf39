"""Rendezvous hashing across the boundary: frozen placements, properties, batches."""

from __future__ import annotations

import array
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain import rvh
from city_chain.errors import InputError, UnavailableError

pytestmark = pytest.mark.ffi

VECTORS = Path(__file__).parents[2] / "native" / "tests" / "vectors" / "rvh_placement.txt"
IDS = [f"node-{at}".encode() for at in range(20)]


def unpack(rows: bytes) -> list[int]:
    assert len(rows) % 4 == 0
    return [int.from_bytes(rows[at : at + 4], "little") for at in range(0, len(rows), 4)]


def test_frozen_placements() -> None:
    weights = [at * 10_000 / 65_536 for at in range(20)]
    domains = [b"abc"[at % 3 : at % 3 + 1] for at in range(20)]
    sets = {
        "plain": rvh.NodeSet(IDS),
        "weighted": rvh.NodeSet(IDS, weights),
        "spread": rvh.NodeSet(IDS, weights, domains),
    }
    rows = [line.split(" ", 2) for line in VECTORS.read_text().splitlines()]
    mine = [row for row in rows if row[0] in sets]
    assert len(mine) == 24
    for name, key, places in mine:
        assert str(sets[name].pick(key.encode(), 10)) == places


def test_what_a_set_tells() -> None:
    nodes = rvh.NodeSet(IDS)
    assert len(nodes) == 20
    assert [nodes.id(at) for at in range(20)] == IDS
    assert [nodes.position(node) for node in IDS] == list(range(20))
    assert nodes.position(b"nobody") is None
    for at in (20, 2**32 - 1, 2**32):
        with pytest.raises(InputError):
            nodes.id(at)


@settings(deadline=None, max_examples=100)
@given(
    count=st.integers(2, 20),
    weights=st.lists(st.floats(0.001, 100), min_size=20, max_size=20),
    key=st.binary(max_size=60),
    data=st.data(),
)
def test_ranks_behave(count: int, weights: list[float], key: bytes, data: st.DataObject) -> None:
    ids, weights = IDS[:count], weights[:count]
    gone = data.draw(st.integers(0, count - 1))
    nodes = rvh.NodeSet(ids, weights)
    ranked = nodes.rank(key)
    assert sorted(ranked) == list(range(count))
    assert all(nodes.pick(key, n) == ranked[:n] for n in range(count + 1))
    assert nodes.rank(key, exclude=[gone]) == [at for at in ranked if at != gone]
    turned = rvh.NodeSet(ids[::-1], weights[::-1])
    assert [turned.id(at) for at in turned.rank(key)] == [nodes.id(at) for at in ranked]
    heavier = rvh.NodeSet(ids, [weight * (3 if at == gone else 1) for at, weight in enumerate(weights)])
    assert heavier.rank(key).index(gone) <= ranked.index(gone)
    lost = rvh.NodeSet(ids, [0 if at == gone else weight for at, weight in enumerate(weights)])
    moved = lost.owner_changes(nodes, [key], 1)
    assert (moved == [0]) == (ranked[0] == gone)


@settings(deadline=None, max_examples=50)
@given(keys=st.lists(st.binary(min_size=4, max_size=4), max_size=50), n=st.integers(0, 20))
def test_batch_is_single(keys: list[bytes], n: int) -> None:
    nodes = rvh.NodeSet(IDS)
    rows = nodes.pick_many(keys, n)
    assert unpack(rows) == [at for key in keys for at in nodes.pick(key, n)]
    assert nodes.pick_many(b"".join(keys), n, width=4) == rows
    assert nodes.pick_many(iter(keys), n) == rows
    assert nodes.pick_many(array.array("B", b"".join(keys)), n, width=4) == rows


def test_domains_come_one_after_another() -> None:
    nodes = rvh.NodeSet(IDS, domains=[bytes([at % 4]) for at in range(20)])
    for key in range(50):
        ranked = nodes.rank(bytes([key]))
        for at in range(0, 20, 4):
            assert {node % 4 for node in ranked[at : at + 4]} == {0, 1, 2, 3}


def test_shares_follow_the_weights() -> None:
    nodes = rvh.NodeSet(IDS[:5], [1, 2, 3, 4, 0])
    owners = unpack(nodes.pick_many(b"".join(at.to_bytes(4, "little") for at in range(20_000)), 1, width=4))
    for at, weight in enumerate([1, 2, 3, 4, 0]):
        share = weight / 10
        sigma = (20_000 * share * (1 - share)) ** 0.5
        assert abs(owners.count(at) - 20_000 * share) <= 5 * sigma


def test_only_the_keys_of_a_lost_node_move() -> None:
    keys = [f"key-{at}".encode() for at in range(2_000)]
    before, after = rvh.NodeSet(IDS), rvh.NodeSet(IDS[:-1])
    rows = unpack(before.pick_many(keys, 3))
    held = [at for at in range(len(keys)) if 19 in rows[3 * at : 3 * at + 3]]
    assert before.owner_changes(after, keys, 3) == held
    assert before.owner_changes(before, keys, 3) == []


def test_raising_a_weight_moves_keys_only_to_it() -> None:
    keys = random.Random(1).randbytes(4 * 3_000)
    light = [1 + at % 4 for at in range(20)]
    heavy = [3 * weight if at == 6 else weight for at, weight in enumerate(light)]
    before = unpack(rvh.NodeSet(IDS, light).pick_many(keys, 3, width=4))
    after = unpack(rvh.NodeSet(IDS, heavy).pick_many(keys, 3, width=4))
    moved = 0
    for at in range(0, len(before), 3):
        old, new = set(before[at : at + 3]), set(after[at : at + 3])
        moved += old != new
        assert old == new or new - old == {6}
    assert moved > 300


def test_nodes_left_out_in_a_batch() -> None:
    domains = [b"abc"[at % 3 : at % 3 + 1] for at in range(20)]
    for nodes in (rvh.NodeSet(IDS), rvh.NodeSet(IDS, [at % 5 for at in range(20)]), rvh.NodeSet(IDS, domains=domains)):
        keys = [f"key-{at}".encode() for at in range(200)]
        left_out = [2, 2, 5, 11, 19]
        rows = unpack(nodes.pick_many(keys, 4, exclude=left_out))
        assert rows == [at for key in keys for at in nodes.pick(key, 4, exclude=left_out)]
        assert rows == [at for key in keys for at in nodes.rank(key, exclude=left_out)[:4]]
        assert not set(left_out) & set(rows)
    all_but_two = [at for at in range(20) if at not in (4, 13)]
    assert sorted(nodes.pick(b"key", 2, exclude=all_but_two)) == [4, 13]
    with pytest.raises(UnavailableError, match="needed 3, had 2"):
        nodes.pick_many([b"key"], 3, exclude=all_but_two)
    with pytest.raises(InputError, match="node 20: there are only 20"):
        nodes.pick_many([b"key"], 1, exclude=[20])


def test_thousands_of_weights_and_domains() -> None:
    draw = random.Random(2)
    ids = [f"node-{at}".encode() for at in range(3_000)]
    weights = [draw.choice([0, draw.uniform(0.0001, 60_000)]) for _ in ids]
    for domains in (
        None,
        [str(at % 7).encode() for at in range(3_000)],
        [str(at // 3).encode() for at in range(3_000)],
    ):
        nodes = rvh.NodeSet(ids, weights, domains)
        keys = [draw.randbytes(draw.randrange(100)) for _ in range(50)]
        for n in (1, 10, 300):
            assert unpack(nodes.pick_many(keys, n)) == [at for key in keys for at in nodes.rank(key)[:n]]


KERNELS = """
import hashlib, random
from city_chain import rvh
from city_chain.errors import InputError
draw = random.Random(3)
try:
    hashed = hashlib.sha256()
    for count in (3, 50, 333):
        ids = [f"node-{at}".encode() for at in range(count)]
        for weights in (None, [at % 4 for at in range(count)], [draw.uniform(0.01, 50) for _ in range(count)]):
            for domains in (None, [str(at % 5).encode() for at in range(count)]):
                nodes = rvh.NodeSet(ids, weights, domains)
                for n in (1, 2, count // 5):
                    for width in (1, 16, 63, 64, 65, 200):
                        hashed.update(nodes.pick_many(draw.randbytes(width * 40), n, width=width))
    print(nodes.kernel, hashed.hexdigest())
except InputError as error:
    print("refused", error)
"""


def run_with(kernel: str | None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CITY_CHAIN_RVH_KERNEL"}
    if kernel is not None:
        environment["CITY_CHAIN_RVH_KERNEL"] = kernel
    command = [sys.executable, "-c", KERNELS]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split(maxsplit=1)


def test_every_kernel_of_the_environment_places_alike() -> None:
    best, expected = run_with(None)
    assert run_with("") == [best, expected], "an empty name forces nothing"
    assert run_with("scalar") == ["scalar", expected]
    refused = 0
    for kernel in ("avx512", "avx2", "neon"):
        used, placed = run_with(kernel)
        assert (used, placed) == (kernel, expected) or (used == "refused" and f'RVH_KERNEL is "{kernel}"' in placed)
        refused += used == "refused"
    assert refused >= 1, "no machine has both AVX and NEON"
    assert best in {"avx512", "avx2", "neon", "scalar"}
    used, message = run_with("fast")
    assert used == "refused"
    assert 'rvh: CITY_CHAIN_RVH_KERNEL is "fast"; the kernels of this machine are' in message
    assert message.endswith("scalar\n")


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(InputError, match="0 nodes"):
        rvh.NodeSet([])
    with pytest.raises(InputError, match="node 1: its id is there twice"):
        rvh.NodeSet([b"a", b"a"])
    with pytest.raises(InputError, match="an id of 0 bytes"):
        rvh.NodeSet([b""])
    with pytest.raises(InputError, match="1 weights for 2 nodes"):
        rvh.NodeSet([b"a", b"b"], [1])
    with pytest.raises(InputError, match="1 domains for 2 nodes"):
        rvh.NodeSet([b"a", b"b"], None, [b"x"])
    for weight in (float("nan"), float("inf"), -1, -0.5, 65_536, 1e-9, 10**400):
        with pytest.raises(InputError, match=r"weight|too large"):
            rvh.NodeSet([b"a"], [weight])
    nodes = rvh.NodeSet([b"a", b"b"], [0, 1])
    with pytest.raises(UnavailableError, match="needed 2, had 1") as caught:
        nodes.pick(b"key", 2)
    assert (caught.value.needed, caught.value.had) == (2, 1)
    with pytest.raises(UnavailableError):
        nodes.pick_many([b"key"], 2**40)
    with pytest.raises(InputError, match="node 2: there are only 2"):
        nodes.pick(b"key", 1, exclude=[2])
    with pytest.raises(InputError, match="more than 2 items"):
        nodes.pick(b"key", 1, exclude=[0, 0, 0])
    with pytest.raises(InputError, match="multiple of the width"):
        nodes.pick_many(b"12345", 1, width=2)
    with pytest.raises(TypeError, match="needs its width"):
        nodes.pick_many(b"12345", 1)
    with pytest.raises(TypeError, match=r"ids\[1\]"):
        rvh.NodeSet([b"a", "b"])  # type: ignore[list-item]


def test_many_threads_share_a_set() -> None:
    nodes = rvh.NodeSet(IDS, [1 + at % 3 for at in range(20)])
    keys = [bytes([at, at]) for at in range(200)]
    expected = [nodes.pick(key, 10) for key in keys]
    with ThreadPoolExecutor(8) as pool:
        for made in pool.map(lambda _: [nodes.pick(key, 10) for key in keys], range(16)):
            assert made == expected
