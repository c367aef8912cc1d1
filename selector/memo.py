"""What passes through one backbone gave, kept under everything it depends on.

Features and searches are kept one by one, as soon as there are some. A run that is killed goes on
where it was; another head, threat or labelling of the same images makes only the passes that none
before it has made. What is taken from there is bit by bit what was put there, and counts with the
passes and the time that it took then: a document does not tell how often its run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any, TypeVar

from torch import Tensor

from selector.backbones import Passes
from selector.batches import Images
from selector.store import Label, Part, Shelf, part_key

_T = TypeVar("_T")


@dataclass(frozen=True)
class Memo:
    """Where the parts of one candidate are.

    Attributes:
        owner: key of the backbone, and of what else all of its features depend on.
        model: what it is, exactly, for people.
        shelf: that has them.
        fresh: do not look there, only keep.
        on_recall: told how many images need not go through the backbone again.
    """

    owner: str
    model: str
    shelf: Shelf
    fresh: bool = False
    on_recall: Callable[[int], None] = lambda images: None

    def find(self, key: str) -> Part | None:
        """What is kept."""
        part = None if self.fresh else self.shelf.get_part(key)
        if part is not None:
            self.on_recall(part.forward)
        return part

    def keep(self, key: str, what: str, part: Part) -> None:
        """Keep it for later."""
        self.shelf.put_part(key, Label(self.model, what), part)


def recall(
    memo: Memo | None,
    passes: Passes,
    compute: Callable[..., _T],
    form: Callable[..., _T],
    images: Images,
    arguments: tuple[object, ...],
) -> tuple[_T, float]:
    """What ``compute(images, *arguments)`` gives, or gave before, and the seconds spared.

    Args:
        memo: where to look; None: nowhere.
        passes: of the backbone.
        compute: gives a tensor, or a record of tensors, that depend on nothing but the backbone
            and these arguments.
        form: makes the record again; of a plain tensor ``Tensor``.
        images: with their digests; without, nothing is kept.
        arguments: see :func:`selector.store.digest`.
    """
    if memo is None or images.digests is None:
        return compute(images, *arguments), 0.0
    key = part_key(memo.owner, (compute.__name__, _conditions(images), arguments))
    part = memo.find(key)
    if part is not None:
        passes.recall(part.forward, part.backward)
        images.batch_size.value = part.batch_size
        return _unpacked(form, part.tensors, images), part.seconds
    forward, backward, began = passes.forward, passes.backward, perf_counter()
    value = compute(images, *arguments)
    part = Part(
        tensors=_packed(value),
        forward=passes.forward - forward,
        backward=passes.backward - backward,
        seconds=perf_counter() - began,
        batch_size=images.batch_size.value,
    )
    memo.keep(key, compute.__name__, part)
    return value, 0.0


def _conditions(images: Images) -> tuple[object, ...]:
    """Which images, and all that decides how they are run."""
    precision, batch = images.precision.search, images.batch_size.value
    return images.digests, images.first, precision, batch


def _packed(value: object) -> Mapping[str, Tensor]:
    if isinstance(value, Tensor):
        return {"value": value.cpu()}
    return {field.name: getattr(value, field.name).cpu() for field in fields(value)}  # type: ignore[arg-type]


def _unpacked(form: Callable[..., _T], tensors: Mapping[str, Tensor], images: Images) -> _T:
    there: dict[str, Any] = {name: one.to(images.device) for name, one in tensors.items()}
    if form is Tensor:
        value: _T = there["value"]
        return value
    return form(**there)
