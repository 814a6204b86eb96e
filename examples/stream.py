"""A signal as it comes from a microphone: each chunk is normalised by what has been heard so far.

    stream.py [IN.npy [CHUNK]]

Causal: no value depends on one that comes later. Without a file it listens to the heartbeats in data/.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import instnorm

Chunk = NDArray[np.float32]
ECG = Path(__file__).parent.parent / "data" / "ecg.npy"


class Normaliser:
    """Normalises a stream of chunks (C, L), L from 1 on, by the moments of all values so far."""

    def __init__(self, channels: int) -> None:
        self.moments = instnorm.Moments.empty(1, channels)

    def __call__(self, chunk: Chunk) -> Chunk:
        # In float64 how the stream was cut into chunks changes the last digits of the moments alone.
        self.moments = self.moments.merge(instnorm.moments(chunk.astype(np.float64)))
        return instnorm.instance_norm(chunk, moments=self.moments)


def microphone(path: Path, length: int) -> Iterator[Chunk]:
    """Chunks (C, length) of a signal (1, C, L); the last one may be shorter."""
    (signal,) = np.load(path)
    for first in range(0, signal.shape[1], length):
        yield signal[:, first : first + length].astype(np.float32)


def main(path: Path = ECG, length: int = 36) -> None:
    heard, normalised = [], []
    normalise: Normaliser | None = None
    for chunk in microphone(path, length):
        normalise = normalise or Normaliser(chunk.shape[0])
        heard.append(chunk)
        normalised.append(normalise(chunk))
    if normalise is None:
        sys.exit("no chunk came")
    x, y = np.concatenate(heard, axis=1), np.concatenate(normalised, axis=1)
    afterwards = instnorm.instance_norm(x)  # who can wait has the whole
    whole = instnorm.moments(x.astype(np.float64))
    print(f"{len(heard)} chunks of up to {length} values")
    for name, found, right in (
        ("mean", normalise.moments.mean, whole.mean),
        ("std", normalise.moments.std(), whole.std()),
    ):
        print(f"{name}: {found[0, 0]:.6g}, of the whole {right[0, 0]:.6g}, apart {abs(found - right).max():.1e}")
    for part in range(4):
        first, last = (part * x.shape[1] // 4, (part + 1) * x.shape[1] // 4)
        apart = np.sqrt(np.mean((y - afterwards)[:, first:last] ** 2))
        print(f"quarter {part + 1}: {apart:.3f} standard deviations from the offline result")


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((Path, int), sys.argv[1:])))
