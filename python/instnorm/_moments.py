"""Moments: statistics of rows, as a value."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _C


@final
class Moments:
    """Count, mean and sum of squared deviations of each row of an input.

    The one type of statistics: of a whole signal, of a piece of it, of a stream so far. Pieces are
    joined by `merge`; `instance_norm` takes it as ``moments=`` and gives it with ``return_moments=True``.

    Parameters
    ----------
    count, mean, m2 : array_like (N, C)
        Number of values, their mean, the sum of their squared deviations from it. (1, C) for an
        input (C, L). They are kept as float64, and copied only if they are something else.

    Raises
    ------
    ValueError
        If they are not of one shape (N, C).

    Examples
    --------
    >>> m = Moments([[4.0]], [[2.0]], [[8.0]])
    >>> m.var()
    array([[2.]])
    >>> m.merge(Moments.empty(1, 1)) == m
    True
    """

    __slots__ = ("count", "mean", "m2")

    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    def __init__(self, count: ArrayLike, mean: ArrayLike, m2: ArrayLike) -> None:
        self.count = np.asarray(count, np.float64)
        self.mean = np.asarray(mean, np.float64)
        self.m2 = np.asarray(m2, np.float64)
        shapes = self.count.shape, self.mean.shape, self.m2.shape
        if self.count.ndim != 2 or shapes[1:] != shapes[:-1]:
            raise ValueError(
                "[Moments] count, mean and m2 must have one shape (N, C), got "
                f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
            )

    @staticmethod
    def empty(n: int, c: int) -> Moments:
        """The moments of no values: what a stream begins with.

        >>> Moments.empty(1, 2)
        Moments(count=[[0., 0.]], mean=[[0., 0.]], m2=[[0., 0.]])
        """
        return _C.moments_empty(n, c)

    def var(self, ddof: int = 0) -> NDArray[np.float64]:
        """Variance (N, C): m2 / (count - ddof), NaN where count <= ddof.

        >>> Moments([[4.0]], [[2.0]], [[6.0]]).var(ddof=1)
        array([[2.]])
        """
        return _C.moments_var(self, ddof)

    def std(self, ddof: int = 0) -> NDArray[np.float64]:
        """Standard deviation (N, C): the square root of var(ddof).

        >>> Moments([[4.0]], [[2.0]], [[16.0]]).std()
        array([[2.]])
        """
        return _C.moments_std(self, ddof)

    def merge(self, other: Moments) -> Moments:
        """The moments of the values of both.

        Exact where a count is 0, associative up to rounding. Raises ValueError if the shapes differ.

        >>> Moments([[2.0]], [[1.0]], [[0.0]]).merge(Moments([[2.0]], [[3.0]], [[0.0]]))
        Moments(count=[[4.]], mean=[[2.]], m2=[[4.]])
        """
        return _C.moments_merge(self, other)

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same; NaN is the same as NaN."""
        if not isinstance(other, Moments):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, name), getattr(other, name), equal_nan=True)
            for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]  # as of every mutable value

    def __repr__(self) -> str:
        fields = (
            f"{name}={np.array2string(getattr(self, name), separator=', ', prefix=f'Moments({name}=')}"
            for name in self.__slots__
        )
        return f"Moments({', '.join(fields)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Moments, (self.count, self.mean, self.m2)
