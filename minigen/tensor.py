"""Tensor: an array that remembers how it was computed. The tape itself is in `autograd.py`."""

from __future__ import annotations

from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

import minigen

from .backend import Array, array_module, device_of, is_on, on_device_of, on_gpu, to_device

if TYPE_CHECKING:
    from .autograd import Node


class Tensor:
    """An array with a gradient.

    `data` is the NumPy (or CuPy) array. `grad` is None or a Tensor of the same shape, dtype and device, which
    `backward` fills in leaves: tensors that no recorded operation produced. Make one with `minigen.tensor`.
    Operators and NumPy's method names work as they do for arrays; each is a function of `minigen.ops`.
    """

    __slots__ = ("data", "grad", "requires_grad", "version", "_node", "__weakref__")
    __array_ufunc__ = None  # array * tensor asks Tensor.__rmul__ instead of looping over the elements
    __hash__ = object.__hash__  # by identity, although == compares elements

    def __init__(self, data: Array, requires_grad: bool = False, _node: Node | None = None):
        self.data = data
        self.grad: Tensor | None = None
        self.requires_grad = requires_grad
        self.version = 0  # counts the calls of assign_ and change_
        self._node = _node

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> str:
        return device_of(self.data)

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a 0-d tensor has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="tensor(", threshold=100)
        origin = f", op={self._node.primitive.name}" if self._node else ""
        where = f", device={self.device}" if on_gpu(self.data) else ""
        return f"tensor({values}, dtype={self.dtype}{where}{origin or ', requires_grad=True' * self.requires_grad})"

    # Its gradient

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Adds d(self)/d(leaf), weighted by `gradient` (default: 1 for a single element), to each leaf's `grad`.

        The graph is freed on the way unless `retain_graph`; a second walk through a freed graph is an error.
        With `create_graph` the gradients can themselves be differentiated.
        """
        minigen.autograd.backward(self, gradient, retain_graph, create_graph)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Marks a leaf as one to differentiate with respect to, or not; returns it."""
        if self._node is not None and not requires_grad:
            raise RuntimeError("requires_grad_(False): this is the output of an operation; use detach() instead")
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"requires_grad needs a floating-point tensor, this one is {self.dtype}")
        self.requires_grad = requires_grad
        return self

    def detach(self) -> Tensor:
        """The same values without the history: gradients stop here."""
        return Tensor(self.data)

    # Its values

    def assign_(self, array: Array) -> Tensor:
        """Gives a leaf new values, as an optimiser does: `array`, which is the tensor's own from now on. Returns self.

        A graph that was recorded with the old values notices, and refuses to go backward through them.
        """
        if self._node is not None:
            raise RuntimeError("assign_: this is the output of an operation; only leaves can be given new values")
        given, needed = ((a.shape, a.dtype, device_of(a)) for a in (array, self.data))
        if given != needed:
            raise ValueError("assign_: needs {} {} on {}, got {} {} on {}".format(*needed, *given))
        self.data = np.asarray(array) if isinstance(array, np.generic) else array
        self.version += 1
        return self

    def change_(self) -> Array:
        """The array, for its values to be changed in place. A graph notices, as it does after `assign_`.

        If anything else holds that memory, such as a view on a graph or a user's variable, the tensor first gets a copy
        for itself: nothing but the tensor changes.
        """
        if not self.owns_memory():
            with on_device_of(self.data):
                self.data = array_module(self.data).array(self.data, order="C")
        self.version += 1
        return self.data

    def owns_memory(self) -> bool:
        """Whether the array can be changed in place and nobody but this tensor notices: nothing else holds it, and it
        is no view (a view holds the array whose memory it shows, in both libraries)."""
        if getrefcount(self.data) != ONE_HOLDER or not (type(self.data) is np.ndarray or on_gpu(self.data)):
            return False
        flags = self.data.flags
        return self.data.base is None and (flags.c_contiguous if on_gpu(self.data) else flags.carray)

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array: sharing memory with a tensor on the CPU, a copy of one on a GPU."""
        return to_device(self.data, "cpu")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if on_gpu(self.data):  # as CuPy has it: nothing moves unless it is told to
            raise TypeError(f"this tensor is on {self.device} and a NumPy array is needed: use .numpy() for a copy")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> Any:
        """The value of a tensor with one element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: needs a tensor with one element, this one has shape {self.shape}")
        return self.data.item()

    def to(self, device: str) -> Tensor:
        """The tensor on another device, 'cpu', 'cuda' or 'cuda:1'; itself if it is there already. The gradient comes
        back to this device; for a leaf there, see `minigen.tensor`, or `nn.Module.to`."""
        return self if is_on(self.data, device) else minigen.ops.shape.to(self, device)

    def astype(self, dtype: Any) -> Tensor:
        return minigen.astype(self, dtype)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    # Arithmetic

    def __add__(self, other: Any) -> Tensor:
        return minigen.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return minigen.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return minigen.subtract(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return minigen.subtract(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return minigen.multiply(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return minigen.multiply(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return minigen.divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return minigen.divide(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return minigen.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return minigen.power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return minigen.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return minigen.matmul(other, self)

    def __neg__(self) -> Tensor:
        return minigen.negative(self)

    def __abs__(self) -> Tensor:
        return minigen.abs(self)

    # Comparison: bool tensors, without gradients

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return minigen.equal(self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return minigen.not_equal(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return minigen.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return minigen.less_equal(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return minigen.greater(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return minigen.greater_equal(self, other)

    # Elementwise

    def abs(self) -> Tensor:
        return minigen.abs(self)

    def exp(self) -> Tensor:
        return minigen.exp(self)

    def log(self) -> Tensor:
        return minigen.log(self)

    def sqrt(self) -> Tensor:
        return minigen.sqrt(self)

    def sin(self) -> Tensor:
        return minigen.sin(self)

    def cos(self) -> Tensor:
        return minigen.cos(self)

    def tanh(self) -> Tensor:
        return minigen.tanh(self)

    def erf(self) -> Tensor:
        return minigen.erf(self)

    def clip(self, low: Any = None, high: Any = None) -> Tensor:
        return minigen.clip(self, low, high)

    # Reductions

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return minigen.sum(self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return minigen.mean(self, axis, keepdims)

    def var(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return minigen.var(self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return minigen.max(self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return minigen.min(self, axis, keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return minigen.prod(self, axis, keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        return minigen.cumsum(self, axis)

    def argmax(self, axis: int | None = None) -> Tensor:
        return minigen.argmax(self, axis)

    def argmin(self, axis: int | None = None) -> Tensor:
        return minigen.argmin(self, axis)

    # Shape

    def reshape(self, *shape: Any) -> Tensor:
        return minigen.reshape(self, *shape)

    def transpose(self, *axes: Any) -> Tensor:
        return minigen.transpose(self, *axes)

    @property
    def T(self) -> Tensor:
        return minigen.transpose(self)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return minigen.swapaxes(self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Tensor:
        return minigen.squeeze(self, axis)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        return minigen.repeat(self, repeats, axis)

    def broadcast_to(self, *shape: Any) -> Tensor:
        return minigen.broadcast_to(self, *shape)

    def split(self, indices: Any, axis: int = 0) -> list[Tensor]:
        return minigen.split(self, indices, axis)

    def flip(self, axis: Any = None) -> Tensor:
        return minigen.flip(self, axis)

    def pad(self, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Tensor:
        return minigen.pad(self, pad_width, mode, constant_values)

    def __getitem__(self, index: Any) -> Tensor:
        return minigen.getitem(self, index)

    def gather(self, indices: Any, axis: int) -> Tensor:
        return minigen.gather(self, indices, axis)


_alone = Tensor(np.empty(0))
ONE_HOLDER = getrefcount(_alone.data)  # what it says of an array that a tensor alone holds


def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new leaf with a copy of `data`: a number, nested lists, an array or a Tensor.

    Python floats become float32; arrays and NumPy scalars keep their dtype. `dtype` overrides both. It is made where
    `data` is (all but CuPy's arrays are on the CPU), or on `device`.
    """
    if isinstance(data, Tensor):
        data = data.data
    array = data if on_gpu(data) else _as_numpy(data)
    dtype = array.dtype if dtype is None else np.dtype(dtype)
    for kind in (array.dtype, dtype):
        if kind.kind not in "fiub":
            raise TypeError(f"tensor: needs real numbers, got {type(data).__name__} of dtype {kind}")
    moved = array if device is None else to_device(array, device)
    with on_device_of(moved):
        leaf = Tensor(moved.astype(dtype, copy=moved is array))
    return leaf.requires_grad_() if requires_grad else leaf


def _as_numpy(data: Any) -> np.ndarray:
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"tensor: needs a number, an array, or nested lists of equal lengths ({error})") from error
    return array.astype(np.float32) if array.dtype == np.float64 and not hasattr(data, "dtype") else array


def array_of(x: Any) -> Array:
    """The array behind a Tensor, or `x` as an array if it is something else."""
    return x.data if isinstance(x, Tensor) else tensor(x).data
