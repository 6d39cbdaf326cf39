"""The glued rival: the path of `City.send`, built out of packages that a skilled Python user would reach for.

zfec codes, PyNaCl signs and checks, blake3 hashes, xxhash ranks the nodes, sqlite3 stores. `city.GluedCity` does what a
city of ours does for one transaction or a burst: the same signatures are made and each is checked once, the same things
are written down before anything goes on, and what it returns is a receipt that `city.verify_receipt` checks offline.

What it lacks, so that nobody takes it for more than a measure: no VRF after RFC 9381 that can be trusted was found on
the package index, so the draw is an HMAC, which only who has the key can check. There is one process, no silent or
lying node is waited for, nothing is repaired, and a crash loses what was not committed.
"""
