"""ONNX graphs written as formulas: `+`, `-`, `*`, `/` between values, and what features and back ends need beside.

A value has the axes that a tensor of torch would have in its place; the first one is the clips. Sizes are values, too,
so that a clip may have any length. Axes are counted from 0, or from the end where negative; those that are reduced stay
with the length 1 (`keepdims`). Places of an axis, numbers or values, run from `first` to before `end`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnxscript import GraphBuilder
from torch import nn

Value = Any  # onnx_ir.Value, whose arithmetic its stubs do not know

OPSET = 20  # the first with the GELU of networks
MOST_COLUMNS = 2048  # of a transform by products: longer rows take more time than a chirp
IR_VERSION = 10  # what runtimes of the last years read
TINY = float(np.finfo(np.float32).tiny)  # divides without becoming 0


class Graph:
    """One graph that grows by calls."""

    def __init__(self, builder: GraphBuilder | None = None) -> None:
        self.builder = builder or GraphBuilder(ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name="score"))
        self.op = self.builder.op  # the operators of ONNX by name, `op.Log(x)`; numbers beside a value take its type

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Lets `+`, `-`, `*` and `/` between values add nodes to this graph."""
        before = ir.set_value_magic_handler(self.op)
        try:
            yield
        finally:
            ir.set_value_magic_handler(before)

    def constant(self, values: Any, *, single: bool = False) -> Value:
        """An initializer of numbers: int64 where they are whole by type, else float64, or float32 (single)."""
        array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        real = np.float32 if single else np.float64
        array = array.astype(np.int64 if array.dtype.kind in "iu" else real)
        name = f"constant_{len(self.builder.root.graph.initializers)}"
        return self.builder.initializer(ir.tensor(array, name=name))

    def size(self, x: Value, axis: int) -> Value:
        """Length of an axis, an int64 without axes."""
        return self.op.Squeeze(self.op.Shape(x, start=axis, end=axis + 1))

    def real(self, n: Value) -> Value:
        """A number as float64."""
        return self.op.Cast(n, to=ir.DataType.DOUBLE)

    def single(self, x: Value) -> Value:
        """A number as float32."""
        return self.op.Cast(x, to=ir.DataType.FLOAT)

    def whole(self, x: Value) -> Value:
        """A number as int64."""
        return self.op.Cast(x, to=ir.DataType.INT64)

    def range(self, n: Value | int) -> Value:
        """0, 1, ... n - 1 as int64."""
        return self.op.Range(self.constant(0), self._value(n), self.constant(1))

    def part(self, x: Value, axis: int, first: Value | int, end: Value | int) -> Value:
        """Places `first` to `end` of an axis."""
        starts, ends = (self.op.Reshape(self._value(n), [1]) for n in (first, end))
        return self.op.Slice(x, starts, ends, [axis])

    def mean(self, x: Value, *axes: int, keepdims: bool = True) -> Value:
        """Mean over axes."""
        return self.op.ReduceMean(x, list(axes), keepdims=int(keepdims))

    def average(self, values: Sequence[Value]) -> Value:
        """Mean of several values of one shape; runtimes have no mean of float64."""
        return sum(values[1:], values[0]) / float(len(values))

    def total(self, x: Value, *axes: int, keepdims: bool = True) -> Value:
        """Sum over axes."""
        return self.op.ReduceSum(x, list(axes), keepdims=int(keepdims))

    def count(self, is_true: Value) -> Value:
        """How many are true, an int64 without axes."""
        return self.op.ReduceSum(self.whole(is_true), keepdims=0)

    def square(self, x: Value) -> Value:
        """Squares."""
        return x * x

    def log10(self, x: Value) -> Value:
        """Decadic logarithms."""
        return self.op.Log(x) * (1 / math.log(10))

    def shaped(self, x: Value, *sizes: Value | int) -> Value:
        """The same numbers in another shape; -1 stands for what is left."""
        parts = [[n] if isinstance(n, int) else self.op.Reshape(n, [1]) for n in sizes]
        return self.op.Reshape(x, self.op.Concat(*(self._value(n) for n in parts), axis=0))

    def padded(self, x: Value, axis: int, front: Value | int, behind: Value | int) -> Value:
        """The same with so many zeros before and behind it."""
        pads = self.op.Concat(*(self.op.Reshape(self._value(n), [1]) for n in (front, behind)), axis=0)
        return self.op.Pad(x, pads, None, [axis])

    def taken(self, x: Value, axis: int, places: Value | Sequence[int] | int) -> Value:
        """Places of an axis; the axes of `places`, none for a number, stand where that axis stood."""
        return self.op.Gather(x, self._value(places), axis=axis)

    def power(self, x: Value, n: int) -> Value:
        """Squared magnitudes of the Fourier transform: (clips, frames, n) -> (clips, frames, n // 2 + 1)."""
        real, imaginary = self.spectrum(x, n)
        return self.square(real) + self.square(imaginary)

    def spectrum(self, x: Value, n: int) -> tuple[Value, Value]:
        """Fourier transform: (clips, frames, n) float32 -> real and imaginary part (clips, frames, n // 2 + 1)."""
        rows = next(rows for rows in range(math.isqrt(n), 0, -1) if n % rows == 0)
        if n // rows > MOST_COLUMNS:
            return self.chirp_transform(x)
        return self.transform([x], self.constant(rows), self.constant(n // rows), self.constant(n // 2 + 1))

    def chirp_transform(self, x: Value) -> tuple[Value, Value]:
        """Fourier transform of any length, primes too: (clips, frames, n) -> twice (clips, frames, n // 2 + 1) float32.

        With the chirp c_m = exp(-pi j m^2 / n), bin k is c_k sum_m (x_m c_m) conj(c_{k-m}): a convolution, which is a
        product of transforms of any length that holds it.

        Source: L. I. Bluestein, "A linear filtering approach to the computation of discrete Fourier transform", IEEE
        Transactions on Audio and Electroacoustics 18, 1970.
        """
        n = self.size(x, 2)
        n_kept = n / 2 + 1
        side = self.whole(self.op.Ceil(self.op.Sqrt(self.real(n + n_kept))))
        n_long = side * side
        place = self.range(n_long)
        away = self.op.Where(self.op.Less(place, n_kept), place, n_long - place)  # negative lags at the end
        cos, sin = self._chirp(self.range(n), n)
        lag_cos, lag_sin = self._chirp(self.op.Where(self.op.Less(away, n), away, 0), n)
        parts = [self.padded(x * part, 2, 0, n_long - n) for part in (cos, sin)]
        real, imaginary = self.transform(parts, side, side, n_long)
        lags = [self.op.Unsqueeze(part, [0, 1]) for part in (lag_cos, self.op.Neg(lag_sin))]
        lag_real, lag_imaginary = self.transform(lags, side, side, n_long)
        # Back by another transform forwards, of what is conjugated before and after.
        product = [
            real * lag_real - imaginary * lag_imaginary,
            self.op.Neg(real * lag_imaginary + imaginary * lag_real),
        ]
        real, imaginary = (part / self.single(n_long) for part in self.transform(product, side, side, n_kept))
        cos, sin = (self.part(part, 0, 0, n_kept) for part in (cos, sin))
        return real * cos + imaginary * sin, real * sin - imaginary * cos

    def _chirp(self, m: Value, n: Value) -> tuple[Value, Value]:
        """Real and imaginary part of exp(-pi j m^2 / n), float32; whole turns are left out before they cost digits."""
        angle = self.single(self.real(self.op.Mod(m * m, n * 2)) / self.real(n) * -math.pi)
        return self.op.Cos(angle), self.op.Sin(angle)

    def transform(self, parts: Sequence[Value], rows: Value, columns: Value, n_kept: Value) -> tuple[Value, Value]:
        """First bins of the Fourier transform of rows * columns values, by two matrix products.

        Cooley and Tukey, Mathematics of Computation 19, 1965: bin k of sample columns * r + c is k1 + rows * k2. With
        rows and columns of about the same size it takes a fraction of the time of what runtimes have.

        From the real part and, where there is one, the imaginary part, (clips, frames, rows * columns), to both,
        (clips, frames, n_kept), all float32; numbers of rows, columns and bins are int64 without axes.
        """
        row, column, short = (self.real(self.range(n)) for n in (rows, columns, (n_kept + rows - 1) / rows))
        x = self.op.Concat(*(self.shaped(part, 0, 0, rows, columns) for part in parts), axis=2)
        turns = self._turns(row, row, rows)
        across = self._complex(turns, 0) if len(parts) > 1 else self.op.Concat(*turns, axis=0)
        real, imaginary = self.op.Split(self.op.MatMul(across, x), axis=2, num_outputs=2, _outputs=2)
        cos, sin = self._turns(row, column, rows * columns)
        turned = (real * cos - imaginary * sin, real * sin + imaginary * cos)
        along = self._complex(self._turns(column, short, columns), 1)
        found = self.op.Split(self.op.MatMul(self.op.Concat(*turned, axis=3), along), axis=3, num_outputs=2, _outputs=2)
        bins = (self.shaped(self.op.Transpose(x, perm=[0, 1, 3, 2]), 0, 0, -1) for x in found)
        real, imaginary = (self.part(x, 2, 0, n_kept) for x in bins)
        return real, imaginary

    def _complex(self, turns: tuple[Value, Value], axis: int) -> Value:
        """A complex matrix for real and imaginary parts one after the other: to stand left of both (0) or right (1)."""
        cos, sin = turns
        to_real, to_imaginary = [cos, self.op.Neg(sin)], [sin, cos]
        columns = [self.op.Concat(*parts, axis=1 - axis) for parts in (to_real, to_imaginary)]
        return self.op.Concat(*columns, axis=axis)

    def _turns(self, i: Value, k: Value, n: Value) -> tuple[Value, Value]:
        """Real and imaginary part of exp(-2 pi j i k / n): (rows,), (columns,) -> twice (rows, columns) float32."""
        turns = self.op.Unsqueeze(i, [1]) * (k / self.real(n))
        angle = self.single((turns - self.op.Round(turns)) * (-2 * math.pi))  # small ones lose no digits
        return self.op.Cos(angle), self.op.Sin(angle)

    def choice(self, condition: Value, then: Callable[[Graph], Value], otherwise: Callable[[Graph], Value]) -> Value:
        """One of two float32 values, of which only that one is computed."""

        def branch(name: str, formula: Callable[[Graph], Value]) -> ir.Graph:
            def trace(op: Any) -> Value:
                inner = Graph(op.builder)
                inner.builder.push_module(name)  # keeps the names of its values apart from those outside
                with inner.arithmetic():
                    return formula(inner)

            return self.builder.subgraph(trace, [], [ir.Value()])

        branches = {"then_branch": branch("then", then), "else_branch": branch("otherwise", otherwise)}
        chosen = self.op.If(condition, **branches)
        chosen.type = ir.TensorType(ir.DataType.FLOAT)
        return chosen

    def network(
        self, module: nn.Module, example: Sequence[torch.Tensor], values: Sequence[Value], *, any_time: bool = False
    ) -> Value:
        """A network of torch, float32, that takes a list of tensors such as `example`.

        Every length is that of the example but for the first axis, and (any_time) the last one.
        """
        open_axes = {0: torch.export.Dim("batch"), **({-1: torch.export.Dim.DYNAMIC} if any_time else {})}
        shapes = ([{axis % x.dim(): size for axis, size in open_axes.items()} for x in example],)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own insides
            program = torch.onnx.export(
                module, (list(example),), dynamo=True, dynamic_shapes=shapes, opset_version=OPSET, verbose=False
            )
        assert program is not None
        inner = program.model.graph
        for name, weight in list(inner.initializers.items()):
            inner.initializers.pop(name)
            weight.name = f"network_{name}"
            self.builder.graph.register_initializer(weight)
        for given, value in zip(inner.inputs, values, strict=True):
            ir.convenience.replace_all_uses_with(given, self.single(value))
        (output,) = inner.outputs
        inner.outputs.clear()
        nodes = list(inner)
        inner.remove(nodes)
        self.builder.graph.extend(nodes)
        return output

    def _value(self, x: Any) -> Value:
        return x if isinstance(x, ir.Value) else self.constant(x)
