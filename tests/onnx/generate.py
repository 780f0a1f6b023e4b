#!/usr/bin/env python3
"""Writes the data of onnx_test.cpp: the node tests of ONNX's normalization operators, a file an operator.

Names, shapes and attributes are those of onnx/backend/test/case/node in the ONNX repository, and inputs are drawn from
the same distributions. The values are our own: inputs are float32, in the fewest digits that mean them; outputs come
from the formulas of ONNX's docs/Operators.md, in double. (ONNX's own outputs are float32, compared with a tolerance of
1e-3.) The `_expanded` variants of a case have its data and are left out.

A case is

    case NAME
    attribute NAME VALUE            one line for each that the node gives; the others have ONNX's defaults
    input NAME EXTENTS : VALUES     in the operator's order; values row-major
    output NAME EXTENTS : VALUES

The same bytes on every machine: uniform numbers are Python's, sums exact, and nothing else but +, -, *, /, sqrt.
"""

import math
import pathlib
import random
import struct
from itertools import product


class Tensor:
    def __init__(self, extents, values):
        self.extents, self.values = list(extents), list(values)
        assert len(self.values) == math.prod(self.extents)

    def indices(self):
        return list(product(*map(range, self.extents)))


# ---- inputs ---------------------------------------------------------------------------------------------------------


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def standard_normal(draw):
    """The ratio of uniforms (Kinderman and Monahan 1977). Only a comparison takes the logarithm: its last bit, which
    differs between C libraries, is in no result."""
    while True:
        u, v = 1 - draw.random(), draw.random() - 0.5
        z = 1.7155277699214135 * v / u  # 2 sqrt(2 / e)
        if z * z <= -4 * math.log(u):
            return z


def normal(draw, *extents):
    return Tensor(extents, (float32(standard_normal(draw)) for _ in range(math.prod(extents))))


def uniform(draw, *extents):
    return Tensor(extents, (float32(draw.random()) for _ in range(math.prod(extents))))


# ---- formulas -------------------------------------------------------------------------------------------------------


def mean_of(values, keys):
    """The mean of the values of each key, keys in the order in which they come first."""
    members = {}
    for value, key in zip(values, keys):
        members.setdefault(key, []).append(value)
    return {key: math.fsum(m) / len(m) for key, m in members.items()}


def mean_and_variance(x, keys):
    mean = mean_of(x.values, keys)
    deviations = [v - mean[k] for v, k in zip(x.values, keys)]
    return mean, mean_of([d * d for d in deviations], keys)


def channels(x):
    return [i[1] for i in x.indices()]


def scaled(x, keys, mean, divisor, params=None, scale=None, bias=None):
    """(x - mean) / divisor * scale + bias; mean and divisor by key, scale and bias by param."""
    y = [(v - mean[k]) / divisor[k] for v, k in zip(x.values, keys)]
    if scale is not None:
        y = [v * scale.values[p] for v, p in zip(y, params)]
    if bias is not None:
        y = [v + bias.values[p] for v, p in zip(y, params)]
    return Tensor(x.extents, y)


def deviation(variance, epsilon):
    return {k: math.sqrt(v + epsilon) for k, v in variance.items()}


def batch_normalization(x, scale, bias, input_mean, input_var, epsilon=1e-5, momentum=0.9, training_mode=0):
    keys = channels(x)
    if not training_mode:
        mean, var = dict(enumerate(input_mean.values)), dict(enumerate(input_var.values))
        return {"Y": scaled(x, keys, mean, deviation(var, epsilon), keys, scale, bias)}
    mean, var = mean_and_variance(x, keys)

    def running(old, new):
        return Tensor(old.extents, (o * momentum + new[c] * (1 - momentum) for c, o in enumerate(old.values)))

    return {
        "Y": scaled(x, keys, mean, deviation(var, epsilon), keys, scale, bias),
        "running_mean": running(input_mean, mean),
        "running_var": running(input_var, var),
    }


def instance_normalization(x, scale, bias, epsilon=1e-5):
    keys = [i[:2] for i in x.indices()]
    mean, var = mean_and_variance(x, keys)
    return {"output": scaled(x, keys, mean, deviation(var, epsilon), channels(x), scale, bias)}


def group_normalization(x, scale, bias, num_groups, epsilon=1e-5):
    per_group = x.extents[1] // num_groups
    keys = [(i[0], i[1] // per_group) for i in x.indices()]
    mean, var = mean_and_variance(x, keys)
    return {"Y": scaled(x, keys, mean, deviation(var, epsilon), channels(x), scale, bias)}


def rows(x, axis):
    """Of each element, the row and the place in it, a row being the axes from `axis` on."""
    axis %= len(x.extents)
    length = math.prod(x.extents[axis:])
    return [i[:axis] for i in x.indices()], [i % length for i in range(len(x.values))]


def layer_normalization(x, scale, bias, axis=-1, epsilon=1e-5):
    keys, params = rows(x, axis)
    mean, var = mean_and_variance(x, keys)
    divisor = deviation(var, epsilon)
    axis %= len(x.extents)
    kept = x.extents[:axis] + [1] * (len(x.extents) - axis)
    return {
        "Y": scaled(x, keys, mean, divisor, params, scale, bias),
        "Mean": Tensor(kept, mean.values()),
        "InvStdDev": Tensor(kept, (1 / d for d in divisor.values())),
    }


def rms_normalization(x, scale, axis=-1, epsilon=1e-5):
    keys, params = rows(x, axis)
    mean_square = mean_of([v * v for v in x.values], keys)
    return {"Y": scaled(x, keys, dict.fromkeys(keys, 0), deviation(mean_square, epsilon), params, scale)}


def mean_variance_normalization(x, axes=(0, 2, 3)):
    keys = [tuple(i[a] for a in range(len(i)) if a not in axes) for i in x.indices()]
    mean, var = mean_and_variance(x, keys)
    return {"Y": scaled(x, keys, mean, {k: math.sqrt(v) + 1e-9 for k, v in var.items()})}


# ---- cases ----------------------------------------------------------------------------------------------------------


def small_example():
    """x, scale and bias that two operators share: whole numbers, two channels of three."""
    return Tensor([1, 2, 1, 3], range(-1, 5)), Tensor([2], [1, 1.5]), Tensor([2], [0, 1])


def batch_normalization_cases():
    """`_old`: of the versions without a training mode."""

    def drawn(name):
        draw = random.Random(name)
        x, scale, bias, mean = normal(draw, 2, 3, 4, 5), normal(draw, 3), normal(draw, 3), normal(draw, 3)
        return dict(X=x, scale=scale, B=bias, input_mean=mean, input_var=uniform(draw, 3))

    x, scale, bias = small_example()
    small = dict(X=x, scale=scale, B=bias, input_mean=Tensor([2], [0, 3]), input_var=Tensor([2], [1, 1.5]))
    yield "test_batchnorm_example_old", {}, small
    for name, attributes in {
        "test_batchnorm_epsilon_old": dict(epsilon=1e-2),
        "test_batchnorm_example": {},
        "test_batchnorm_epsilon": dict(epsilon=1e-2),
        "test_batchnorm_example_training_mode": dict(training_mode=1),
        "test_batchnorm_epsilon_training_mode": dict(epsilon=1e-2, training_mode=1),
    }.items():
        yield name, attributes, drawn(name)


def instance_normalization_cases():
    x, scale, bias = small_example()
    yield "test_instancenorm_example", {}, dict(input=x, scale=scale, B=bias)
    name = "test_instancenorm_epsilon"
    draw = random.Random(name)
    yield name, dict(epsilon=1e-2), dict(input=normal(draw, 2, 3, 4, 5), scale=normal(draw, 3), B=normal(draw, 3))


def group_normalization_cases():
    for name, attributes in {
        "test_group_normalization_example": dict(num_groups=2),
        "test_group_normalization_epsilon": dict(epsilon=1e-2, num_groups=2),
    }.items():
        draw = random.Random(name)
        yield name, attributes, dict(X=normal(draw, 3, 4, 2, 2), scale=normal(draw, 4), bias=normal(draw, 4))


def trailing_cases(prefix, parameters):
    """Every axis of three shapes, from either end, and the default one."""

    def case(name, extents, attributes):
        draw = random.Random(name)
        row = extents[attributes.get("axis", -1) :]
        return name, attributes, dict(X=normal(draw, *extents), **{p: normal(draw, *row) for p in parameters})

    yield case(prefix + "_default_axis", (2, 3, 4, 5), {})
    shapes = ((3, 4), {}, ""), ((2, 3, 5), dict(epsilon=1e-1), "_epsilon"), ((2, 3, 4, 5), {}, "")
    for extents, others, suffix in shapes:
        rank = len(extents)
        for axis in range(-rank, rank):
            place = f"axis{axis}" if axis >= 0 else f"axis_negative_{-axis}"
            yield case(f"{prefix}_{rank}d_{place}{suffix}", extents, dict(axis=axis, **others))


def mean_variance_normalization_cases():
    yield "test_mvn", {}, dict(X=uniform(random.Random("test_mvn"), 3, 3, 3, 1))


OPERATORS = (
    ("BatchNormalization", batch_normalization, batch_normalization_cases()),
    ("InstanceNormalization", instance_normalization, instance_normalization_cases()),
    ("GroupNormalization", group_normalization, group_normalization_cases()),
    ("LayerNormalization", layer_normalization, trailing_cases("test_layer_normalization", ("Scale", "B"))),
    ("RMSNormalization", rms_normalization, trailing_cases("test_rms_normalization", ("scale",))),
    ("MeanVarianceNormalization", mean_variance_normalization, mean_variance_normalization_cases()),
)


# ---- files ----------------------------------------------------------------------------------------------------------


def shortest_float32(value):
    return next(s for s in (f"{value:.{digits}g}" for digits in range(1, 10)) if float32(float(s)) == value)


def lines(kind, name, tensor, number):
    """A line for each index of the leading axes."""
    yield f"{kind} {name} {' '.join(map(str, tensor.extents))} :"
    length = tensor.extents[-1]
    for i in range(0, len(tensor.values), length):
        yield "  " + " ".join(map(number, tensor.values[i : i + length]))


def text(operator, formula, cases):
    yield f"# ONNX {operator}: the cases of its node tests. Written by generate.py, which says what the lines are."
    for name, attributes, inputs in cases:
        yield f"\ncase {name}"
        for attribute, value in attributes.items():
            yield f"attribute {attribute} {value}"
        for tensor_name, tensor in inputs.items():
            yield from lines("input", tensor_name, tensor, shortest_float32)
        for tensor_name, tensor in formula(*inputs.values(), **attributes).items():
            yield from lines("output", tensor_name, tensor, repr)


for operator, formula, cases in OPERATORS:
    path = pathlib.Path(__file__).with_name(formula.__name__ + ".txt")
    path.write_bytes("".join(line + "\n" for line in text(operator, formula, cases)).encode())
