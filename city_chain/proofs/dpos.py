"""DPoS, Delegated Proof of Stake: elected delegates commit batches by two thirds of the stake.

- `elect`: approval or sequential Phragmén over a snapshot of stakes; exact, independent of the input's order.
- `leader`, `leaders`: who leads an attempt at a height, drawn by stake from the epoch's seed.
- `collect`: votes make a `Certificate` at W - ⌊(W - 1)/3⌋ of the stake.
- `Delegate`: one delegate's voting machine, without threads, clocks or sockets; persist before send.

One leader proposes, two thirds of the stake sign. If a leader fails, the leader of the next attempt collects `Report`s
of a quorum (`Delegate.prepare`), and must carry on with what the highest attempt among them accepted, as in Paxos.

What it promises: no two batches are certified at one height while less than a third of the stake is faulty and no
leader signs two proposals in one attempt. One who does can, with faulty voters, fork the ledger, and leaves both
signatures as evidence. That is the price of a single round.

The examples of the records here go on from the one at the top of `city_chain.records`.
"""

from city_chain._native import (
    Certificate,
    Delegate,
    Proposal,
    Report,
    Slot,
    ValidatorSet,
    Vote,
    choose,
    collect,
    elect,
    leader,
    leaders,
)

__all__ = [
    "Certificate",
    "Delegate",
    "Proposal",
    "Report",
    "Slot",
    "ValidatorSet",
    "Vote",
    "choose",
    "collect",
    "elect",
    "leader",
    "leaders",
]
