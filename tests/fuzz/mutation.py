"""Valid input becomes wrong: at the level of its structure, and below it.

Every mutator takes bytes and a source of randomness, and gives bytes. Documents are changed as
trees (keys dropped, given twice, renamed, values of other types, deep nesting) and written again;
what is not a document, or is none any more, is changed as text or as bytes.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import yaml

Mutator = Callable[[bytes, Random], bytes]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LARGEST = 400_000
"""Bytes of a case, at most."""


@dataclass
class Pairs:
    """An object whose keys may come twice."""

    items: list[tuple[Any, Any]]


@dataclass(frozen=True)
class Raw:
    """Text that is written as it is, whatever it means."""

    text: str


_TEXTS = (
    "", " ", "a", "null", "true", "../../etc/passwd", "/", "~", "~nobody/x", ".", "\x00",
    "\x1b[31m", "\u202e", "\ufeff", "\U0001f4a9", "\ud800", "a" * 300, "a" * 5000, "a/b",
    "hf-hub:a/b", "local-dir:", "local-dir:.", "local-dir:/", "local-dir:~nobody", "linf", "l2",
    "%s%n", "{0}", "<script>", "\n", "a\nb", "1e400", "0x10", "١٢", "café",
    "2026-11-27T00:00:00+00:00", "none", "9999-12-31T23:59:59+00:00", "0001-01-01", "hf:a/b", "@",
    ":", "NaN", "resnet18", "vit_tiny_patch16_224", "bicubic", "nearest", "attacked", "clean",
    "masked_gradients", "module:x", "f" * 64, "0" * 40,
)  # fmt: skip
_NUMBERS = (
    0, -0.0, 1, -1, 2, 3, 0.5, 255, 1e-320, 1e-9, 1e9, 1e308, -1e308, 2**31, 2**32, 2**53 + 1,
    2**63, 2**64, -(2**63) - 1, 10**30, 10**400,
)  # fmt: skip
_RAWS = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0" * 50, "1" * 5000, "0x" + "f" * 5000,
    "01", ".5", "5.", "'", "undefined", "[", "]", "{", "}", "\\", '"', "1:30:45", "2026-13-45",
    "!!binary a", "0o777", "~", "- a", "&a [*a]", "*a", "!!python/object/apply:os.system [id]",
    "!!set {a}", "<<", "!!timestamp 1", "? [a]", "? {a: b}\n: c", "1_000", "2026-11-27",
    "12:30:45.5", "!!float x", "!!int ''", "!!str 1", "!!omap [a]", "!!pairs [a]", "!x 1", "=",
    "%TAG", "---\n", "...\n", "#", "|\n  a", ">\n a",
)  # fmt: skip
_DEPTHS = (3, 30, 200, 900, 1100, 5000, 60_000)


def odd(rng: Random) -> Any:
    """A value that hardly anything expects."""
    kind = rng.randrange(8)
    if kind <= 2:
        return rng.choice(_TEXTS)
    if kind == 3:
        return rng.choice(_NUMBERS)
    if kind == 4:
        return Raw(rng.choice(_RAWS))
    if kind == 5:
        return rng.choice((None, True, False))
    if kind == 6:
        return rng.choice(([], Pairs([]), [[]], [None], Pairs([("", None)]), Pairs([(1, 2)])))
    return _nested(rng, rng.choice(_DEPTHS if rng.random() < 0.2 else _DEPTHS[:2]))


def _nested(rng: Random, depth: int) -> Raw:
    begin, end = rng.choice((("[", "]"), ('{"a":', "}"), ("[[],", "]")))
    return Raw(begin * depth + "1" + end * (depth if rng.random() < 0.8 else 0))


def tree(value: Any) -> Any:
    """A document as a tree whose objects may hold keys twice."""
    if isinstance(value, dict):
        return Pairs([(key, tree(one)) for key, one in value.items()])
    return [tree(one) for one in value] if isinstance(value, list | tuple) else value


def written(value: Any) -> str:
    """A tree as JSON, which is YAML as well; what JSON cannot say is written as it is."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{_key(key)}: {written(one)}" for key, one in value.items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, float) and not math.isfinite(value):
        return "1e999"
    return json.dumps(value if isinstance(value, int | float | None) else str(value))


def _key(key: Any) -> str:
    return written(key if isinstance(key, str | Raw) else str(key))


def change(root: Any, rng: Random) -> Any:
    """A tree with one change at a random place."""
    places = list(_places(root))
    if not places:
        return odd(rng) if rng.random() < 0.5 else [root]
    holder, index = rng.choice(places)
    value = _get(holder, index)
    if rng.random() < 0.3:
        _set(holder, index, _nearby(value, rng))
        return root
    step = rng.randrange(14)
    if step == 0:
        del _items(holder)[index]
    elif step == 1:
        _items(holder).insert(rng.randrange(len(_items(holder)) + 1), _items(holder)[index])
    elif step == 2 and isinstance(holder, Pairs):
        key = holder.items[index][0]
        new = rng.choice(
            (f"x-{key}", str(key)[:-1], f"{key} ", str(key).upper(), rng.choice(_TEXTS))
        )
        holder.items[index] = (new, value)
    elif step == 3 and isinstance(holder, Pairs):
        holder.items.insert(index, (rng.choice(_TEXTS), odd(rng)))
    elif step == 4:
        _set(holder, index, [value])
    elif step == 5:
        _set(holder, index, Pairs([("a", value)]))
    elif step == 6:
        other, there = rng.choice(places)
        mine, yours = value, _get(other, there)
        if not (_holds(mine, other) or _holds(yours, holder)):
            _set(holder, index, yours)
            _set(other, there, mine)
    elif step == 7 and isinstance(value, list) and value:
        _set(holder, index, value * rng.choice((2, 3, 100)))
    elif step == 8 and isinstance(value, str):
        _set(holder, index, _text_changed(value, rng))
    elif step in (8, 9, 10) and isinstance(value, int | float) and value is not None:
        _set(holder, index, _number_changed(value, rng))
    else:
        _set(holder, index, odd(rng))
    return root


def _nearby(value: Any, rng: Random) -> Any:
    """A value of the same kind, which may well pass for one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(0, value + rng.choice((-1, 1, 2, 10, 1000)))
    if isinstance(value, float):
        return value * rng.choice((0, 0.5, 0.999, 1.001, 2, -1, 1e6, 1e-9, 1e300))
    if isinstance(value, str):
        return rng.choice(
            (value + "é", value[::-1], rng.choice(_TEXTS), value * 40, f"<b>{value}|*")
        )
    if isinstance(value, list) and value:
        return rng.choice((value[1:], value[::-1], [], [*value, value[0]]))
    return rng.choice((None, "a", 1, 0.5))


def _places(root: Any) -> list[tuple[Any, int]]:
    found, waiting = list[tuple[Any, int]](), [root]
    while waiting and len(found) < 20_000:
        holder = waiting.pop()
        if isinstance(holder, Pairs | list):
            for index in range(len(_items(holder))):
                found.append((holder, index))
                waiting.append(_get(holder, index))
    return found


def _items(holder: Any) -> list[Any]:
    return holder.items if isinstance(holder, Pairs) else holder


def _get(holder: Any, index: int) -> Any:
    return holder.items[index][1] if isinstance(holder, Pairs) else holder[index]


def _set(holder: Any, index: int, value: Any) -> None:
    if isinstance(holder, Pairs):
        holder.items[index] = (holder.items[index][0], value)
    else:
        holder[index] = value


def _holds(outer: Any, inner: Any) -> bool:
    """Whether a part is another or lies in it: a tree that held itself could not be written."""
    waiting = [outer]
    while waiting:
        one = waiting.pop()
        if one is inner:
            return True
        if isinstance(one, Pairs | list):
            waiting += [_get(one, index) for index in range(len(_items(one)))]
    return False


def _text_changed(text: str, rng: Random) -> str:
    at = rng.randrange(len(text) + 1)
    choice = rng.randrange(5)
    if choice == 0:
        return text[:at] + rng.choice(_TEXTS) + text[at:]
    if choice == 1:
        return text[:at]
    if choice == 2:
        return text[:at] + text[at + 1 :]
    if choice == 3:
        return (text or "a") * rng.choice((2, 50))
    return (
        text[:at]
        + chr(rng.choice((0, 7, 0x7F, 0x85, 0xA0, 0x2028, 0xD800, 0xFFFE, 0x1F600)))
        + text[at:]
    )


def _number_changed(value: float, rng: Random) -> Any:
    changed: list[Callable[[], Any]] = [
        lambda: -value,
        lambda: value + 1,
        lambda: value - 1,
        lambda: value * 1000,
        lambda: float(value) + 0.5,
        lambda: str(value),
        lambda: rng.choice(_NUMBERS),
        lambda: Raw(rng.choice(_RAWS[:7])),
    ]
    try:
        return rng.choice(changed)()
    except OverflowError:
        return 10**400


def as_text(data: bytes, rng: Random) -> bytes:
    """Text with some of its lines or characters changed."""
    step = rng.randrange(12)
    lines = data.splitlines(keepends=True)
    if step == 0 and lines:
        lines.pop(rng.randrange(len(lines)))
        return b"".join(lines)
    if step == 1 and lines:
        line = rng.choice(lines)
        lines[rng.randrange(len(lines)) : 0] = [line] * rng.choice((1, 2, 30))
        return b"".join(lines)
    if step == 2 and len(lines) > 1:
        a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[a], lines[b] = lines[b], lines[a]
        return b"".join(lines)
    at = rng.randrange(len(data) + 1)
    if step <= 6:
        piece = rng.choice((*_RAWS, *_TEXTS)).encode("utf-8", "surrogatepass")
        return data[:at] + piece + data[at:]
    if step == 7:
        end = min(len(data), at + rng.choice((1, 3, 20, 200)))
        return data[:at] + data[end:]
    if step == 8:
        piece = rng.choice(
            (b"\xff", b"\xef\xbb\xbf", b"\x00", b"\r", b"\t", b'"', b"'", b",", b"\n\n")
        )
        return data[:at] + piece + data[at:]
    if step == 9:
        try:
            encoding = rng.choice(("utf-16", "utf-32", "latin-1"))
            return data.decode("utf-8").encode(encoding, "replace")
        except UnicodeDecodeError:
            return data[:at]
    return as_bytes(data, rng)


def as_bytes(data: bytes, rng: Random) -> bytes:
    """Bytes with some of them changed, as any file may be damaged."""
    found = bytearray(data or b"\x00")
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = (
            rng.randrange(len(found)) if rng.random() < 0.5 else rng.randrange(min(len(found), 256))
        )
        step = rng.randrange(8)
        if step == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif step == 1:
            found[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif step == 2:
            form, values = rng.choice(_INTEGERS)
            packed = struct.pack(form, rng.choice(values))
            found[at : at + len(packed)] = packed
        elif step == 3:
            del found[at : at + rng.choice((1, 4, 100))]
        elif step == 4:
            found[at:at] = bytes(rng.choice((0, 0xFF, rng.randrange(256))) for _ in range(4))
        elif step == 5:
            start = rng.randrange(len(found))
            found[at:at] = found[start : start + rng.choice((1, 8, 64))]
        elif step == 6:
            del found[rng.randrange(len(found)) :]
        else:
            start = rng.randrange(len(found))
            piece = found[start : start + rng.choice((2, 8, 32))]
            found[at : at + len(piece)] = piece
        found = found or bytearray(b"\x00")
    return bytes(found)


_INTEGERS = tuple(
    (order + size, values)
    for size, values in (
        ("H", (0, 1, 0x7FFF, 0x8000, 0xFFFF)),
        ("I", (0, 1, 10**5, 2**20, 2**31 - 1, 2**31, 2**32 - 1)),
        ("Q", (0, 2**32, 2**63 - 1, 2**64 - 1)),
    )
    for order in "<>"
)


def in_json(data: bytes, rng: Random) -> bytes:
    """A JSON document with a few changes."""
    return _in_document(data, rng, json.loads)


def in_yaml(data: bytes, rng: Random) -> bytes:
    """A YAML document with a few changes: as a tree in flow style, or as text with aliases."""
    if len(data) > 20_000 or rng.random() < 0.4:
        return as_text(data, rng)[:LARGEST]
    return _in_document(data, rng, lambda text: yaml.load(text, Loader=_LOADER))


def _in_document(data: bytes, rng: Random, load: Callable[[str], Any]) -> bytes:
    try:
        root = tree(load(data.decode("utf-8")))
    except Exception:  # noqa: BLE001 - PyYAML raises nearly anything
        return as_text(data, rng)[:LARGEST]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        root = change(root, rng)
    try:
        text = written(root).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):
        return as_text(data, rng)[:LARGEST]
    return (as_text(text, rng) if rng.random() < 0.05 else text)[:LARGEST]


def in_json_lines(data: bytes, rng: Random) -> bytes:
    """Lines of JSON, one of them changed as a document, or the text."""
    lines = data.splitlines()
    if not lines or rng.random() < 0.3:
        return as_text(data, rng)[:LARGEST]
    at = rng.randrange(len(lines))
    lines[at] = in_json(lines[at], rng).replace(b"\n", b" ")
    return b"\n".join(lines)[:LARGEST]


def in_cells(data: bytes, rng: Random, delimiter: bytes = b",") -> bytes:
    """A table of text with a cell, a row or a column changed."""
    if rng.random() < 0.4:
        return as_text(data, rng)[:LARGEST]
    rows = [line.split(delimiter) for line in data.split(b"\n")]
    row = rng.choice(rows)
    at, step = rng.randrange(len(row)), rng.randrange(6)
    if step == 0:
        row[at] = rng.choice(_TEXTS).encode("utf-8", "surrogatepass")
    elif step == 1:
        row[at] = str(rng.choice(_NUMBERS[:-1])).encode()
    elif step == 2:
        row.insert(at, rng.choice(row))
    elif step == 3:
        del row[at]
    elif step == 4:
        for other in rows:
            if at < len(other):
                other[at] = rng.choice((b"", b"a", b"1", b"train", other[at]))
    else:
        row[at] = b'"' + row[at] + rng.choice((b'"', b"", b'"x', b'""', b"\n"))
    return b"\n".join(delimiter.join(one) for one in rows)[:LARGEST]


def in_tabs(data: bytes, rng: Random) -> bytes:
    """As :func:`in_cells`, of a table with tabs."""
    return in_cells(data, rng, b"\t")


def in_safetensors(data: bytes, rng: Random) -> bytes:
    """A safetensors file with a changed header, a length that lies, or damaged values."""
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    step = rng.randrange(10)
    if step <= 5:
        header = in_tensor_header(header, rng)
        length = len(header)
    elif step == 6:
        length = rng.choice((0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1, 100_000_001))
    elif step == 7:
        at = rng.randrange(len(body) + 1)
        values = (float("nan"), float("inf"), -0.0, 1e38, 1e-45)
        body = body[:at] + struct.pack("<f", rng.choice(values)) + body[at + 4 :]
    elif step == 8:
        body = rng.choice((body[:-1], body + b"\x00", b"", body[: len(body) // 2], body * 2))
    else:
        return as_bytes(data, rng)
    return min(max(0, length), 2**64 - 1).to_bytes(8, "little") + header + body


_DTYPES = (
    "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "I64", "I32",
    "I16", "I8", "U8", "U16", "U32", "U64", "BOOL", "C64", "f32", "", "X",
)  # fmt: skip


def in_tensor_header(data: bytes, rng: Random) -> bytes:
    """Names, types, shapes and offsets of tensors, one of them changed."""
    try:
        header = json.loads(data)
        names = [name for name, one in header.items() if isinstance(one, dict) and "shape" in one]
        name = rng.choice(names)
        one = header[name]
        step = rng.randrange(9)
        if step == 0:
            one["dtype"] = rng.choice(_DTYPES)
        elif step == 1:
            one["shape"] = rng.choice(
                (
                    [],
                    [0],
                    [-1],
                    [2**63],
                    [2**32, 2**32],
                    [*one["shape"], 1],
                    one["shape"][::-1],
                    [1.5],
                )
            )
        elif step == 2:
            begin, end = one["data_offsets"]
            shift = rng.choice((-4, 4, 1, 2**40))
            one["data_offsets"] = rng.choice(
                (
                    [begin + shift, end],
                    [begin, end + shift],
                    [end, begin],
                    [begin, begin],
                    [0, 2**64],
                )
            )
        elif step == 3:
            header[rng.choice(_TEXTS)] = header.pop(name)
        elif step == 4:
            other = header[rng.choice(names)]
            one["data_offsets"] = other["data_offsets"]
        elif step == 5:
            other = header[rng.choice(names)]
            one["shape"], other["shape"] = other["shape"], one["shape"]
        elif step == 6:
            # The same bytes as half as many values of twice the size, or the reverse.
            size = {"F64": 0.5, "F16": 2, "BF16": 2, "I32": 1, "U8": 4, "C64": 0.5}
            one["dtype"] = rng.choice(tuple(size))
            one["shape"] = [*one["shape"][:-1], int((one["shape"] or [1])[-1] * size[one["dtype"]])]
        elif step == 7:
            header["__metadata__"] = rng.choice(({"a": "b"}, {"a": 1}, [], None, {"\x00": "\x1b"}))
        else:
            return in_json(data, rng)
        return json.dumps(header, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return in_json(data, rng)


def in_picture(data: bytes, rng: Random) -> bytes:
    """An image file with changed chunks where it is PNG, else with changed bytes."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or rng.random() < 0.3:
        return as_bytes(data, rng)[:LARGEST]
    chunks = list(_chunks(data))
    if not chunks:
        return as_bytes(data, rng)[:LARGEST]
    at, step = rng.randrange(len(chunks)), rng.randrange(7)
    kind, body = chunks[at]
    if step == 0:
        del chunks[at]
    elif step == 1:
        chunks.insert(rng.randrange(len(chunks) + 1), chunks[at])
    elif step == 2:
        other = rng.randrange(len(chunks))
        chunks[at], chunks[other] = chunks[other], chunks[at]
    elif step == 3 and len(chunks[0][1]) == 13:
        sizes = (0, 1, 7, 10**4, 60_000, 10**9, 2**31 - 1, 2**32 - 1)
        width, height = (rng.choice((*sizes, 16, 16)) for _ in range(2))
        rest = bytes(rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        old = chunks[0][1][8:]
        chunks[0] = (chunks[0][0], struct.pack(">II", width, height) + rng.choice((old, rest)))
    elif step == 4:
        text = rng.choice((b"a\0" + b"b" * 100, b"\0", b"a\0\0" + zlib.compress(b"0" * 3_000_000)))
        name = rng.choice(
            (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"acTL", b"fcTL", b"tRNS", b"PLTE")
        )
        chunks.insert(rng.randrange(1, len(chunks) + 1), (name, text))
    elif step == 5 and kind == b"IDAT":
        chunks[at] = (kind, rng.choice((b"", body[:-3], zlib.compress(b"\0" * 2_000_000))))
    else:
        chunks[at] = (kind, as_bytes(body, rng))
    return (b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks))[:LARGEST]


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
