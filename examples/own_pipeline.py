"""The composer alone: a pipeline of one's own that has nothing to do with transactions."""

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from city_chain.composer import Pipeline, stage


@stage(inputs=("path",), output="text", budget_ms=20, retries=2, retry_on=(OSError,))
def read(path: Path) -> str:
    """Reads the file; tried again if the disk is busy."""
    return path.read_text(encoding="utf-8")


@stage(inputs=("text",), output="words", budget_ms=20)
def count(text: str) -> int:
    """Counts words."""
    return len(text.split())


@stage(inputs=("text",), output="packed", budget_ms=20)
def pack(text: str) -> bytes:
    """Compresses, beside the counting: both need only the text."""
    return zlib.compress(text.encode())


@stage(inputs=("words", "packed"), output="line")
def describe(words: int, packed: bytes) -> str:
    """One line."""
    return f"{words} words in {len(packed)} bytes"


pipeline = Pipeline("describe", [describe, pack, count, read], inputs=("path",), outputs=("line",))
with ThreadPoolExecutor(2) as executor:
    run = pipeline.run({"path": Path(__file__)}, executor=executor)
print(run["line"], run.trace.table(), pipeline.mermaid(), sep="\n\n")
assert pipeline.order.index("describe") == 3
assert run["line"].startswith(f"{len(Path(__file__).read_text(encoding='utf-8').split())} words")
