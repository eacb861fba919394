"""ONNX graphs written as formulas: `+`, `-`, `*`, `/` between values, and what features and back ends need beside.

A value has the axes that a tensor of torch would have in its place; the first one is the clips. Sizes are values, too,
so that a clip may have any length.

Args:
    x: a value.
    axis, axes: of it, counted from 0, or from the end where negative.
    keepdims: whether an axis that is reduced stays, with the length 1.
    first, end: places of an axis, numbers or values; `end` is the first that is left out.
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

OPSET = 20  # the first whose DFT takes its axis as an input
IR_VERSION = 10  # what runtimes of the last years read


class Graph:
    """One graph that grows by calls.

    Attributes:
        op: the operators of ONNX by name, `op.Log(x)`; numbers beside a value take its type.
    """

    def __init__(self, builder: GraphBuilder | None = None) -> None:
        self.builder = builder or GraphBuilder(
            ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name="score")
        )
        self.op = self.builder.op

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Lets `+`, `-`, `*` and `/` between values add nodes to this graph."""
        before = ir.set_value_magic_handler(self.op)
        try:
            yield
        finally:
            ir.set_value_magic_handler(before)

    def constant(self, values: Any) -> Value:
        """An initializer of numbers, an array or a tensor: int64 where they are whole by type, else float64."""
        array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float64)
        name = f"constant_{len(self.builder.root.graph.initializers)}"
        return self.builder.initializer(ir.tensor(array, name=name))

    def size(self, x: Value, axis: int) -> Value:
        """Length of an axis, an int64 without axes."""
        return self.op.Squeeze(self.op.Shape(x, start=axis, end=axis + 1))

    def real(self, n: Value) -> Value:
        """A number as float64."""
        return self.op.Cast(n, to=ir.DataType.DOUBLE)

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

    def largest(self, x: Value, *axes: int, keepdims: bool = True) -> Value:
        """Maximum over axes."""
        return self.op.ReduceMax(x, list(axes), keepdims=int(keepdims))

    def count(self, is_true: Value) -> Value:
        """How many are true, an int64 without axes."""
        return self.op.ReduceSum(self.whole(is_true), keepdims=0)

    def square(self, x: Value) -> Value:
        """Squares."""
        return x * x

    def log10(self, x: Value) -> Value:
        """Decadic logarithms."""
        return self.op.Log(x) * (1 / math.log(10))

    def axes_added(self, x: Value, *axes: int) -> Value:
        """The same with axes of length one."""
        return self.op.Unsqueeze(x, list(axes))

    def shaped(self, x: Value, *sizes: Value | int) -> Value:
        """The same numbers in another shape; -1 stands for what is left."""
        parts = [[n] if isinstance(n, int) else self.op.Reshape(n, [1]) for n in sizes]
        return self.op.Reshape(x, self.op.Concat(*(self._value(n) for n in parts), axis=0))

    def taken(self, x: Value, axis: int, places: Value | Sequence[int]) -> Value:
        """Places of an axis; the axes of `places` stand where that axis stood."""
        return self.op.Gather(x, self._value(places), axis=axis)

    def transform(self, x: Value) -> Value:
        """Fourier transform of real values along the last axis: (..., n) -> (..., n // 2 + 1, 2)."""
        return self.op.DFT(self.axes_added(x, -1), None, self.constant(-2), onesided=1)

    def power(self, x: Value) -> Value:
        """Squared magnitudes of the transform: (..., n) -> (..., n // 2 + 1)."""
        return self.total(self.square(self.transform(x)), -1, keepdims=False)

    def choice(
        self, condition: Value, then: Callable[[Graph], Value], otherwise: Callable[[Graph], Value]
    ) -> Value:
        """One of two float64 values, of which only that one is computed.

        Args:
            condition: which, a bool without axes.
            then: gives the value in the graph of a branch, which may use everything outside.
            otherwise: the same of the other branch.

        Returns:
            The value.
        """

        def branch(name: str, formula: Callable[[Graph], Value]) -> ir.Graph:
            def trace(op: Any) -> Value:
                inner = Graph(op.builder)
                inner.builder.push_module(name)  # keeps the names of its values apart from those outside
                with inner.arithmetic():
                    return formula(inner)

            return self.builder.subgraph(trace, [], [ir.Value()])

        branches = {"then_branch": branch("then", then), "else_branch": branch("otherwise", otherwise)}
        chosen = self.op.If(condition, **branches)
        chosen.type = ir.TensorType(ir.DataType.DOUBLE)
        return chosen

    def network(self, module: nn.Module, example: Sequence[torch.Tensor], values: Sequence[Value]) -> Value:
        """A network of torch, float32, that takes a list of tensors.

        Args:
            module: in the state in which it is to work.
            example: its inputs; every length but that of the first axis is kept.
            values: the same as values of the graph, of any type.

        Returns:
            Its output.
        """
        batch = torch.export.Dim("batch")
        shapes = ([{0: batch} for _ in example],)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own insides
            program = torch.onnx.export(
                module,
                (list(example),),
                dynamo=True,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                verbose=False,
            )
        assert program is not None
        inner = program.model.graph
        for name, weight in list(inner.initializers.items()):
            inner.initializers.pop(name)
            weight.name = f"network_{name}"
            self.builder.graph.register_initializer(weight)
        for given, value in zip(inner.inputs, values, strict=True):
            ir.convenience.replace_all_uses_with(given, self.op.Cast(value, to=ir.DataType.FLOAT))
        (output,) = inner.outputs
        inner.outputs.clear()
        nodes = list(inner)
        inner.remove(nodes)
        self.builder.graph.extend(nodes)
        return output

    def _value(self, x: Any) -> Value:
        return x if isinstance(x, ir.Value) else self.constant(x)
