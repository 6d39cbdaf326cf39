"""The algorithms, each usable alone: `from city_chain import ec, hs, rvh, vrf, tes, cbf, tnh`.

Thin facades of the native extension: types and documentation, no logic. They are siblings and never import each other.
"""
