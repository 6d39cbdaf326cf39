"""TES: threshold encryption and threshold signatures, and the post-quantum pieces.

A key that no single party has: n parties have a share each, any t of them do together what the key would.

- `dkg`: makes such a key without a dealer, and hands it on to other parties.
- `bls`: signatures on BLS12-381, of one key or of a group's.
- `tdh2`: encryption to a group's key on ristretto255; any t of the parties open a ciphertext.
- `coin`: a bit that nobody knows before enough parties show their shares.
- `kem`: key encapsulation, X-Wing or sntrup761 with X25519: hybrids of a classical and a post-quantum part.
- `ml_dsa`: signatures that stand against quantum computers (FIPS 204).

Key bytes begin with two letters, for the scheme and the role, so that a key of one kind is refused wherever another is
needed:

==========================  ======  ======  ============  ============
scheme                      secret  public  secret share  public share
==========================  ======  ======  ============  ============
`bls`                       ``bs``  ``bp``  ``bx``        ``bv``
`tdh2`                              ``tp``  ``tx``        ``tv``
`coin`                              ``cp``  ``cx``        ``cv``
`kem`, X-Wing               ``xs``  ``xp``
`kem`, sntrup761-X25519     ``ns``  ``np``
`ml_dsa` 44, 65, 87         ``4s``  ``4p``
..                          ``6s``  ``6p``
..                          ``8s``  ``8p``
==========================  ======  ======  ============  ============

Example:
    >>> from city_chain import tes
    >>> key = tes.kem.SecretKey.generate()
    >>> ciphertext, secret = tes.kem.encapsulate(key.public_key)
    >>> key.decapsulate(ciphertext) == secret
    True
"""

from city_chain.algorithms.tes import bls, coin, dkg, kem, ml_dsa, tdh2

__all__ = ["bls", "coin", "dkg", "kem", "ml_dsa", "tdh2"]
