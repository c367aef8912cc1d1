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
from selector.candidates.lock import (
    Lock,
    LockedFile,
    Pin,
    Pinned,
    lock_path,
    lock_yaml,
    model_in,
    pin,
    read_lock,
    require_pins,
)
from selector.candidates.registry import (
    Registry,
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
    "Lock",
    "LockedFile",
    "Pin",
    "Pinned",
    "Pretraining",
    "Registry",
    "builtin_zoo",
    "check_distinct",
    "default_registry",
    "from_models",
    "lock_path",
    "lock_yaml",
    "model_in",
    "pin",
    "read_lock",
    "read_registry",
    "require_pins",
    "to_yaml",
]
