"""The hybrid logical clock alone: two machines whose clocks disagree still agree on what came first."""

import time

from city_chain import tnh
from city_chain.errors import ProtocolError

here, there = tnh.Hlc(max_drift_ms=500), tnh.Hlc(max_drift_ms=500)
now = time.time_ns() // 1_000_000
behind = now - 200  # the other machine's clock is 200 ms slow

sent = here.now(now)
received = there.update(sent, behind)
answered = there.now(behind)
print(f"sent {tnh.ms(sent) - now:+} ms, received {tnh.ms(received) - now:+} ms #{tnh.counter(received)}, ", end="")
print(f"answered {tnh.ms(answered) - now:+} ms #{tnh.counter(answered)}")
assert sent < received < answered

# A stamp from the far future would drag every clock along: it is refused, and the clock stays where it was.
try:
    there.update(tnh.pack(now + 3_600_000, 0), behind)
    raise SystemExit("a stamp of the next hour was accepted")
except ProtocolError as error:
    print("refused:", error)
assert there.last == answered

# Before a restart: a bound that no stamp of the next minute exceeds, written down once. The clock may then be behind.
bound = there.upper_bound(now, ahead_ms=60_000)
again = tnh.Hlc(max_drift_ms=7_200_000, last=bound)
after = again.now(now - 3_600_000)
print(f"after the restart {tnh.ms(after) - now:+} ms, above all before")
assert after > bound > there.last
