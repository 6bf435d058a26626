"""What an ONNX file asks of the world around it, read from its protobuf without the onnx package.

ONNX Runtime resolves external data against the working directory and runs its own contributed
operators without being asked, so both are looked for here, before a session sees the bytes. Knows
nothing of bundles: bytes in, findings out.

Source: field numbers from onnx.proto3 of ONNX 1.16 (they never change); wire format from the
Protocol Buffers encoding guide.
"""

from collections.abc import Iterator
from dataclasses import dataclass

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_WIDTH = {_FIXED64: 8, _FIXED32: 4}

# Message type -> field number -> message type of that field; only what can lead to a finding.
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "OperatorSet", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 9: "OperatorSet", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
# Message type -> field number that holds an operator domain.
_DOMAIN_FIELD = {"OperatorSet": 1, "Node": 7, "Function": 10}
_EXTERNAL_DATA_FIELD, _DATA_LOCATION_FIELD, _EXTERNAL = 13, 14, 1
_MAX_DEPTH = 64


class MalformedOnnxError(ValueError):
    """The bytes are no ONNX model."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a model needs beyond its own bytes and the standard operators."""

    foreign_domains: frozenset[str]
    """Operator domains other than ONNX's own."""
    external_tensors: int
    """Tensors whose values lie in another file."""


def inspect(raw: bytes) -> Findings:
    """Walk a serialised ModelProto, sub-graphs and functions included.

    Raises:
        MalformedOnnxError: the bytes are no protobuf message, or nest too deeply.
    """
    domains: set[str] = set()
    external = 0
    stack = [("Model", memoryview(raw), 0)]
    while stack:
        kind, message, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise MalformedOnnxError(f"messages nest deeper than {_MAX_DEPTH}")
        for number, value in _fields(message):
            if kind == "Tensor":
                external += number == _EXTERNAL_DATA_FIELD
                external += number == _DATA_LOCATION_FIELD and value == _EXTERNAL
            elif isinstance(value, int):
                continue
            elif number == _DOMAIN_FIELD.get(kind):
                domains.add(bytes(value).decode("utf-8", "replace"))
            elif child := _CHILDREN.get(kind, {}).get(number):
                stack.append((child, value, depth + 1))
    return Findings(frozenset(domains - STANDARD_DOMAINS), external)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of one message: an int for a number, bytes for the rest."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(message, position)
        elif wire_type in _FIXED_WIDTH:
            size = _FIXED_WIDTH[wire_type]
        else:
            raise MalformedOnnxError(f"wire type {wire_type} at byte {position}")
        if position + size > len(message):
            raise MalformedOnnxError(f"a field of {size} bytes ends beyond its message")
        yield number, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise MalformedOnnxError(f"a number does not end by byte {position}")
