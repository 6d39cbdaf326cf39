"""What the examples in the docstrings of the records share, as a plugin that `tests/conftest.py` registers.

They go on from the example at the top of `city_chain.records`, which tells one whole way of a transaction; it is told
once for them here. (A fixture of a `conftest.py` would reach the tests of its own folder only.)
"""

from __future__ import annotations

import doctest
from typing import Any

import pytest

WAY = "city_chain.records"


@pytest.fixture(autouse=True)
def _way(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    name = request.node.name
    if name.startswith((f"{WAY}.", "city_chain.proofs.")) and "receipt" not in doctest_namespace:
        from city_chain import records  # noqa: PLC0415 — nothing else here needs the package built

        told = doctest.DocTestParser().get_doctest(records.__doc__ or "", {}, WAY, None, 0)
        doctest.DocTestRunner(verbose=False).run(told, out=lambda _: None, clear_globs=False)
        doctest_namespace.update(told.globs)
