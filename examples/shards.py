"""One signal in several files, each read by a process of its own: their moments, merged, normalise all.

    shards.py SHARD.npy...

The shards are (N, C, L) with any L each. Beside SHARD.npy appears SHARD-normalised.npy, the same bits for
any number of processes.
"""

from __future__ import annotations

import functools
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import instnorm


def measure(shard: Path) -> instnorm.Moments:
    return instnorm.moments(np.load(shard))


def normalise(moments: instnorm.Moments, shard: Path) -> None:
    y = instnorm.instance_norm(np.load(shard), moments=moments)
    np.save(shard.with_name(f"{shard.stem}-normalised.npy"), y)


def main(shards: list[Path]) -> instnorm.Moments:
    # Moments travel between processes by pickle. Merged in the order of the shards: in another one their
    # last digits may differ.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        moments = functools.reduce(instnorm.Moments.merge, workers.map(measure, shards))
        list(workers.map(functools.partial(normalise, moments), shards))
    return moments


if __name__ == "__main__":
    found = main([Path(word) for word in sys.argv[1:]])
    print(f"{found.count[0, 0]:.0f} values in each row; mean {found.mean[0]}, std {found.std()[0]}")
