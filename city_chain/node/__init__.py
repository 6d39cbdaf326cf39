"""A node and what it is made of: it holds fragments, answers requests and votes.

`node.Node` is one identity; `host.Host` answers for all nodes of a process; `ledger.Ledger` is what is committed;
`judge.Judge` says what may be; `roster.Roster` who is there; `engines.DposEngine` gets batches committed. `login.Login`
puts those on the list who show a token, and `door.Door` lets nobody else ask for anything.
"""

from city_chain.node.door import Door, WithToken
from city_chain.node.engines import ENGINES
from city_chain.node.host import Host
from city_chain.node.joining import Joining, Met, lists_words, meeting_words
from city_chain.node.judge import Judge
from city_chain.node.ledger import Ledger
from city_chain.node.login import Lease, Login, signed_record
from city_chain.node.node import Node
from city_chain.node.roster import Roster

__all__ = [
    "ENGINES",
    "Door",
    "Host",
    "Joining",
    "Judge",
    "Lease",
    "Ledger",
    "Login",
    "Met",
    "Node",
    "Roster",
    "WithToken",
    "lists_words",
    "meeting_words",
    "signed_record",
]
