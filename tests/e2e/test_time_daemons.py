"""Clocks against real daemons: chronyd on loopback, one of them false by five seconds, and a pair of ptp4l.

The programs come from Debian's packages chrony, libfaketime and linuxptp: on PATH, or in the folder that
`CITY_CHAIN_PROGRAMS` names, as ``dpkg -x`` unpacks them. No test needs root, and none touches the clock of the machine.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from city_chain.adapters.ptp import PtpState, ptp_state
from city_chain.errors import DeadlineError, UnavailableError
from city_chain.node.ntp_clock import NtpClock


def program(name: str) -> str:
    """The path of a program, or the test is skipped."""
    root = Path(os.environ.get("CITY_CHAIN_PROGRAMS", "/nonexistent"))
    path = os.pathsep.join([os.environ.get("PATH", ""), *(str(root / place) for place in ("usr/sbin", "usr/bin"))])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not here: CITY_CHAIN_PROGRAMS names no folder with it, and it is not on PATH")
    return found


def faketime() -> str:
    """The library that makes a program see another time."""
    root = Path(os.environ.get("CITY_CHAIN_PROGRAMS", "/nonexistent"))
    for folder in (root / "usr/lib", Path("/usr/lib")):
        for found in folder.glob("*/faketime/libfaketime.so.1"):
            return str(found)
    pytest.skip("libfaketime is not here: CITY_CHAIN_PROGRAMS names no folder with it")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def chronyd(folder: Path, *shifts: float) -> Iterator[list[str]]:
    """One chronyd for each shift, whose clock is that many seconds ahead; their addresses."""
    daemons: list[subprocess.Popen[bytes]] = []
    addresses = []
    try:
        for place, shift in enumerate(shifts):
            port, config = free_port(), folder / f"chrony{place}.conf"
            lines = [f"port {port}", "bindaddress 127.0.0.1", "cmdport 0", "local stratum 1", "allow 127.0.0.1"]
            lines += [f"pidfile {folder / f'chrony{place}.pid'}", f"bindcmdaddress {folder / f'chrony{place}.sock'}"]
            config.write_text("\n".join([*lines, ""]), encoding="ascii")
            environment = {**os.environ, "FAKETIME_DONT_RESET": "1"}
            if shift:
                environment |= {"LD_PRELOAD": faketime(), "FAKETIME": f"{shift:+}s"}
            command = [program("chronyd"), "-4", "-x", "-U", "-u", getpass.getuser(), "-d", "-f", str(config)]
            log = (folder / f"chrony{place}.log").open("wb")
            with log:
                daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            addresses.append(f"127.0.0.1:{port}")
        wait_until_all_answer(addresses, folder)
        yield addresses
    finally:
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(10)


def wait_until_all_answer(addresses: list[str], folder: Path) -> None:
    until = time.monotonic() + 30
    for address in addresses:
        clock = NtpClock([address], timeout_s=0.2)
        while True:
            try:
                clock.poll()
                break
            except UnavailableError:
                if time.monotonic() > until:
                    logs = "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("chrony*.log")))
                    raise AssertionError(f"{address} does not answer: {clock.servers()}\n{logs}") from None
                time.sleep(0.05)


def test_three_servers_one_false_by_five_seconds(tmp_path: Path) -> None:
    with chronyd(tmp_path, 0, 5, 0) as servers:
        clock = NtpClock(servers)
        interval = clock.poll()
    assert interval.status == "synchronised"
    assert interval.earliest_ns <= time.time_ns() <= interval.latest_ns + 10_000_000_000
    assert [server.verdict for server in clock.servers()] == ["right", "false", "right"]
    false = clock.servers()[1]
    assert false.name == servers[1]
    assert false.offset_ns is not None
    assert abs(false.offset_ns - 5_000_000_000) < 100_000_000
    assert abs(clock.now_ms() - time.time_ns() // 1_000_000) < 100


def test_two_against_two_is_no_majority(tmp_path: Path) -> None:
    with chronyd(tmp_path, 0, 0, 5, 5) as servers:
        clock = NtpClock(servers)
        with pytest.raises(UnavailableError, match="no majority"):
            clock.poll()
        with pytest.raises(UnavailableError):
            clock.now_ms()
        assert clock.interval().status == "unknown"


PTP_PAIR = r"""
set -e
folder=$1; ptp4l=$2
for one in a b; do
    printf '[global]\nfree_running 1\ntime_stamping software\nuds_address %s\n' "$folder/$one" > "$folder/$one.conf"
done
echo 'masterOnly 1' >> "$folder/a.conf"
echo 'slaveOnly 1' >> "$folder/b.conf"
ip link add va type veth peer name vb
unshare -n sleep 120 &
other=$!
trap 'kill $(jobs -p) 2>/dev/null' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
ip link set vb netns $other
ip addr add 10.0.0.1/24 dev va
ip link set va up
nsenter -t $other -n ip addr add 10.0.0.2/24 dev vb
nsenter -t $other -n ip link set vb up
"$ptp4l" -f "$folder/a.conf" -i va -m > "$folder/a.log" 2>&1 &
nsenter -t $other -n "$ptp4l" -f "$folder/b.conf" -i vb -m > "$folder/b.log" 2>&1 &
read -r _
"""
"""A master and a slave in network namespaces of their own, joined by a cable, until standard input ends."""


def test_a_ptp_daemon_says_how_far_it_is_from_its_master(tmp_path: Path) -> None:
    ptp4l, pmc = program("ptp4l"), program("pmc")
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this system makes no network namespace for the test (unshare -rn fails)")
    with tempfile.TemporaryDirectory(prefix="cc-ptp-") as name:  # the path of a socket has 107 bytes at most
        command = ["unshare", "-rn", "bash", "-c", PTP_PAIR, "ptp", name, ptp4l]
        pair = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            state = first_offset(Path(name), pair)
            asked = [pmc, "-u", "-b", "0", "-s", f"{name}/b", "-i", f"{name}/pmc", "GET CURRENT_DATA_SET"]
            said = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30).stdout
            again = ptp_state(f"{name}/b")
            own = ptp_state(f"{name}/a")
        finally:
            pair.communicate(timeout=30)
    words = said.split()
    offset, delay = (float(words[words.index(key) + 1]) for key in ("offsetFromMaster", "meanPathDelay"))
    # One clock drives both, so what they say is the noise of software timestamps; a new measurement comes each second.
    assert abs(state.offset_ns) < 50_000_000
    assert abs(again.offset_ns - offset) < 50_000_000
    assert 0 <= again.path_delay_ns < 50_000_000
    assert 0 <= delay < 50_000_000
    assert (state.steps, state.has_master) == (1, True)
    assert len(state.grandmaster) == 8
    assert (own.steps, own.offset_ns, own.has_master) == (0, 0, False)
    assert own.grandmaster == state.grandmaster, "the master names itself, and the slave names it"


def first_offset(folder: Path, pair: subprocess.Popen[bytes]) -> PtpState:
    """What the slave says once it follows the master."""
    until = time.monotonic() + 60
    while True:
        try:
            state = ptp_state(folder / "b", timeout_s=0.5)
            if state.has_master and state.path_delay_ns:
                return state
        except (UnavailableError, DeadlineError):
            pass
        logs = "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))
        assert pair.poll() is None, (pair.communicate()[0], logs)
        assert time.monotonic() < until, logs
        time.sleep(0.2)
