"""The other end of the scale, as a side that takes turns: the best matrix product this machine does.

A processor's clock and its neighbours change from minute to minute, so a share of the ceiling means
something only when both were measured in turn.
"""

from __future__ import annotations

from bench.duel import serve_rounds
from danlu.device import api, ceiling


def main() -> None:
    device = api.current()
    dtype = device.default_dtype()
    serve_rounds(
        lambda: {"flops": ceiling.measure(device.torch, dtype, device.synchronize, seconds=2.0)},
        dtype=str(dtype)[6:],
    )


if __name__ == "__main__":
    main()
