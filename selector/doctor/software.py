"""Whether what selector rests on can be imported."""

from __future__ import annotations

import importlib
import platform
from importlib.metadata import PackageNotFoundError, version

from selector.doctor.check import Check
from selector.errors import printable

# Which module stands for which distribution; scipy and numpy come with selector as well.
_REQUIRED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "huggingface_hub": "huggingface-hub",
    "safetensors": "safetensors",
    "scipy": "scipy",
}
_OPTIONAL = {"datasets": "datasets"}


def python() -> Check:
    """The interpreter and the system."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("Python", "ok", found, facts={"version": platform.python_version()})


def libraries() -> Check:
    """Versions, and whether each library can be imported, whatever an import raises."""
    versions = {name: _version(name) for name in (*_REQUIRED.values(), *_OPTIONAL.values())}
    broken = {}
    for module, name in _REQUIRED.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a broken installation raises anything
            broken[name] = " ".join([f"{type(error).__name__}:", *str(error).split()])[:160]
    if broken:
        found = "; ".join(f"{name} cannot be imported: {why}" for name, why in broken.items())
        way_out = f"Install again: pip install --force-reinstall {' '.join(broken)}"
        return Check("libraries", "problem", printable(found), way_out, facts=versions)
    found = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    return Check("libraries", "ok", found, facts=versions)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
