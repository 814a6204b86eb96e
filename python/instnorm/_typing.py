"""What the stubs call an array."""

from typing import Any, Literal, Protocol, TypeVar


class Array(Protocol):
    """An array that speaks DLPack: NumPy's, PyTorch's, JAX's, ..."""

    def __dlpack__(self) -> Any: ...

    def __dlpack_device__(self) -> tuple[Any, Any]: ...


ArrayT = TypeVar("ArrayT", bound=Array)
WeightT = TypeVar("WeightT", bound=Array | None)
BiasT = TypeVar("BiasT", bound=Array | None)

NanPolicy = Literal["propagate", "omit", "raise"]
DataFormat = Literal["NCL", "NLC"]
Activation = Literal["relu", "leaky_relu", "gelu", "gelu_tanh", "silu"]
