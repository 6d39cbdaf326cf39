"""The stages S1–S5 and R1–R5: plain functions with declared inputs and one output, for the composer to string together.

==================  ===================================================================  ==========================
stage               what it does                                                         file
==================  ===================================================================  ==========================
S1 select           who is to hold each transaction, provably not the sender's choice    `s1_select`
S2 seal             the payload sealed, when a transaction is made                       `s2_seal`
S2 encode           n fragments, any k of which restore                                  `s2_encode`
S3 hold             signed manifest and requests, journalled                             `s3_hold`
S4 deliver          fragments out, acks in, hedged                                       `s4_deliver` over `courier`
S5 commit           certificate → batch → engine → receipt                               `s5_commit`
R1 ingress          bounded, authenticated admission                                     `r1_ingress`
R2 choose           whom to ask, best first                                              `r2_choose`
R3 request          fetch and check fragments                                            `r3_request` over `fetcher`
R4 restore          decode, check; place anew                                            `r4_restore`
R4 open             what is sealed opened, with a reader's key or the delegates' shares  `r4_open`
R5 commit           commit the new placement                                             `r5_commit`
==================  ===================================================================  ==========================

`model` has what travels between them, `messages` what goes over the transport, `vitals` who failed lately, `patience`
how long nodes are waited for.
"""

from city_chain.stages.r1_ingress import r1_ingress
from city_chain.stages.r2_choose import r2_choose, r2_choose_all
from city_chain.stages.r3_request import r3_request
from city_chain.stages.r4_open import r4_open
from city_chain.stages.r4_restore import r4_repair, r4_restore
from city_chain.stages.r5_commit import r5_commit
from city_chain.stages.s1_select import s1_select
from city_chain.stages.s2_encode import s2_encode, s2_resume
from city_chain.stages.s2_seal import s2_seal
from city_chain.stages.s3_hold import s3_hold, s3_resume
from city_chain.stages.s4_deliver import s4_deliver
from city_chain.stages.s5_commit import s5_commit

__all__ = [
    "r1_ingress",
    "r2_choose",
    "r2_choose_all",
    "r3_request",
    "r4_open",
    "r4_repair",
    "r4_restore",
    "r5_commit",
    "s1_select",
    "s2_encode",
    "s2_resume",
    "s2_seal",
    "s3_hold",
    "s3_resume",
    "s4_deliver",
    "s5_commit",
]
