"""Which backbones are to be compared: the registry file, the built-in zoo, single model ids."""

from selector.candidates.entry import (
    CONFIG_FILE,
    FORMATS,
    HUB_PREFIX,
    LOCAL_PREFIX,
    WEIGHTS_FILE,
    Candidate,
    Checkpoint,
    Format,
    Pretraining,
)
from selector.candidates.registry import (
    builtin_zoo,
    check_distinct,
    default_registry,
    from_models,
    read_registry,
)
from selector.candidates.writing import to_yaml

__all__ = [
    "CONFIG_FILE",
    "FORMATS",
    "HUB_PREFIX",
    "LOCAL_PREFIX",
    "WEIGHTS_FILE",
    "Candidate",
    "Checkpoint",
    "Format",
    "Pretraining",
    "builtin_zoo",
    "check_distinct",
    "default_registry",
    "from_models",
    "read_registry",
    "to_yaml",
]
