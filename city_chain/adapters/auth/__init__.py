"""Who is it? Tokens (JWT, EdDSA over Ed25519 only) against a set of keys (JWKS), and what is revoked.

Needs the extra ``city-chain[auth]`` (joserfc); nothing of it is loaded before a set of keys is read.
"""
