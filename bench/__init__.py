"""Side-by-side measurements. Every figure we publish has its command here; RESULTS.md holds them.

    python -m bench.pretrain --peer minimind=PATH    real tokens per second, and the share of the ceiling
    python -m bench.moe                              a mixture's step against the dense one's
    python -m bench.memory                           peak memory of a step with a large vocabulary
    python -m bench.data --peer PYTHON               from rows to token ids on disk, beside `datasets`
    python -m bench.loader                           the loader alone, a resume far in, memory over many rows
    python -m bench.startup                          --help, and from the command to the first step

Sides run in processes of their own and take turns, round by round, so that a noisy machine
disturbs both alike; medians and ratios of neighbouring rounds are what counts.
A peer is a checkout of yours, given by path and never part of this project.
"""
