"""Ground truths: found once, kept in a file, and gone on with where an earlier run stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quality.autoattack import Composed, Target, attack, margins, named
from selector.heads import LinearHead

# Heads of other machines differ in rounding, which an attack of many steps may magnify.
_SAME_HEAD = 0.02
# Margins of a constant head are rounding and nothing else.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Key:
    """What a ground truth depends on, beside the head.

    Attributes:
        backbone: sha256 over the names and hashes of its files.
        task: fingerprint, which depends on the images drawn.
        threat: as people write it.
        seed: of the attack.
        attack: what was run.
    """

    backbone: str
    task: str
    threat: str
    seed: int
    attack: str


@dataclass(frozen=True)
class Truth:
    """One cell, image by image; where there are strings, 1 is right and 0 is wrong.

    Attributes:
        key: what it belongs to.
        names: of the backbone and the task, for people.
        head: sha256 over its weights and biases in fp32.
        margins: of the clean images (n,): right logit minus the largest wrong one.
        clean: of n test images.
        robust: of them, under attack; an image that is wrong already was not attacked.
        attacked_loss: mean cross-entropy in nats, at adversarial images where there are some, else
            at clean ones: a lower estimate of the worst loss, since AutoAttack is after errors.
        forward, backward: images that the attack sent through the network.
        seconds: that it took, on one thread of a CPU or on a GPU.
        device: cpu or cuda.
    """

    key: Key
    names: tuple[str, str]
    head: str
    margins: tuple[float, ...]
    clean: str
    robust: str
    attacked_loss: float
    forward: int
    backward: int
    seconds: float
    device: str

    def is_of(self, key: Key, of: Tensor) -> bool:
        """Whether it is of this key and of a head with margins ``of`` (n,), up to rounding.

        Such a head gets the same images right: of a nearly constant one many margins are small.
        """
        if key != self.key or len(of) != len(self.margins):
            return False
        known, found = np.array(self.margins), of.cpu().numpy()
        close = np.linalg.norm(known - found) <= _SAME_HEAD * np.linalg.norm(known) + _ROUNDING
        differs = ((found > 0) != as_flags(self.clean)) & (abs(found) > _ROUNDING)
        return bool(close and not differs.any())


def settle(
    key: Key,
    names: tuple[str, str],
    classifier: tuple[Composed, Target],
    parts: Sequence[str],
    known: Sequence[Truth],
) -> tuple[Truth, bool]:
    """The ground truth of a cell, and whether it was known.

    One that was found with the first parts alone, for the very same head, is gone on with.

    Args:
        key: of the cell; what it says of the attack is replaced.
        names: of the backbone and the task.
        classifier: model and what is attacked.
        parts: of AutoAttack.
        known: earlier ones.
    """
    model, target = classifier
    key, of, head = replace(key, attack=named(parts)), margins(*classifier), digest(model.head)
    found = next((one for one in known if one.is_of(key, of)), None)
    if found is not None:
        return found, True
    done, begun = _begun(key, head, parts, known)
    left = torch.ones(len(of), dtype=torch.bool)
    if begun is not None:
        left = torch.from_numpy(as_flags(begun.robust))
    attacked = attack(model, target, parts[done:], left.to(of.device))
    return Truth(
        key=key,
        names=names,
        head=head,
        margins=tuple(of.tolist()),
        clean=as_bits(attacked.clean),
        robust=as_bits(attacked.robust),
        attacked_loss=(begun.attacked_loss if begun else attacked.clean_loss) + attacked.rise,
        forward=(begun.forward if begun else 0) + attacked.forward,
        backward=(begun.backward if begun else 0) + attacked.backward,
        seconds=(begun.seconds if begun else 0.0) + attacked.seconds,
        device=of.device.type,
    ), False


def _begun(
    key: Key, head: str, parts: Sequence[str], known: Sequence[Truth]
) -> tuple[int, Truth | None]:
    """The known truth of most of the first parts, and how many these are."""
    for done in range(len(parts) - 1, 0, -1):
        shorter = replace(key, attack=named(parts[:done]))
        for one in known:
            if one.key == shorter and one.head == head:
                return done, one
    return 0, None


def digest(head: LinearHead) -> str:
    """sha256 over weights and biases in fp32."""
    values = torch.cat([head.weight.flatten(), head.bias]).float().cpu().numpy()
    return hashlib.sha256(values.tobytes()).hexdigest()


def as_bits(flags: Tensor) -> str:
    """One character for each of (n,) bool."""
    return "".join("01"[flag] for flag in flags.int().tolist())


def as_flags(bits: str) -> np.ndarray:
    """The bool (n,) that such characters stand for."""
    return np.array([bit == "1" for bit in bits])


def read(path: Path) -> tuple[Truth, ...]:
    """The rows of a file; none where there is no file. A line that was cut off is left out."""
    if not path.exists():
        return ()
    rows = (_parse(line) for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(row for row in rows if row is not None)


def _parse(line: str) -> Truth | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    key, names, known = Key(**row.pop("key")), tuple(row.pop("names")), tuple(row.pop("margins"))
    return Truth(key=key, names=names, margins=known, **row)


def append(path: Path, truth: Truth) -> None:
    """Add a row in one write; after a line that was cut off, on a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = asdict(truth) | {
        "margins": [float(f"{margin:.4g}") for margin in truth.margins],
        "attacked_loss": round(truth.attacked_loss, 5),
        "seconds": round(truth.seconds, 1),
    }
    line = json.dumps(row, separators=(",", ":")) + "\n"
    with path.open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        cut_off = file.read(1) not in (b"", b"\n")
        file.write((("\n" if cut_off else "") + line).encode())
        file.flush()
        os.fsync(file.fileno())
