"""The algorithms, each usable alone: `from city_chain import abba, cbf, ec, hs, rvh, sc, tes, tnh, vrf`.

Thin facades of the native extension: types and documentation, no logic. They are siblings and never import each other.
"""
