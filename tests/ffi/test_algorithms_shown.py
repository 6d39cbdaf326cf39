"""What the documentation shows runs: the doctests of the algorithms, native classes included."""

from __future__ import annotations

import doctest
import subprocess
import sys
from types import ModuleType

import pytest

from city_chain import cbf, ec, hs, rvh, tes, tnh, vrf

pytestmark = pytest.mark.ffi


MODULES = [cbf, ec, hs, rvh, tnh, vrf, *(getattr(tes, name) for name in tes.__all__)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_doctests(module: ModuleType) -> None:
    for name in module.__all__:
        thing = getattr(module, name)
        assert thing.__doc__, name
        if not isinstance(thing, type):
            assert ">>>" in thing.__doc__, name
            continue
        assert ">>>" in thing.__doc__, name
        for method, value in vars(thing).items():
            assert method.startswith("_") or value.__doc__, f"{name}.{method}"
    failed, attempted = doctest.testmod(module)
    assert not failed
    assert attempted >= 5


def test_names_load_lazily() -> None:
    code = (
        "import sys, city_chain; assert 'city_chain._native' not in sys.modules; "
        "from city_chain import ec, rvh, vrf, tes, cbf, tnh; assert city_chain.ec is ec; "
        "assert {'ec', 'rvh', 'vrf', 'tes', 'cbf', 'tnh'} <= set(dir(city_chain)); print(ec.__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "city_chain.algorithms.ec"
