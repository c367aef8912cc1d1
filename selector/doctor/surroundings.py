"""What selector meets outside: the Hub, and the shell that it is called from."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path

from selector.doctor.check import Check
from selector.errors import printable

_HUB_SECONDS = 5.0
_SHELL_SECONDS = 5.0
_RESERVING = ("bash", "zsh")
_FREE = ("fish", "dash", "sh", "ash")
_DONE = "alias-was-asked-for"
_WITHOUT = "Until then: built-in, local and cached candidates."


def hub() -> Check:
    """Whether the Hub answers, and as whom we ask."""
    from selector.hub.state import connection

    found = connection(_HUB_SECONDS)
    facts = {"state": found.state, "site": found.site, "identity": found.identity}
    match found.state:
        case "reachable":
            who = f"as {found.identity}" if found.identity else "without a token"
            return Check("Hub", "ok", f"{found.site} answers, {who}", facts=facts)
        case "offline":
            way_out = "Unset it to download candidates."
            return Check("Hub", "warning", "not asked: HF_HUB_OFFLINE is set", way_out, facts)
        case "bad_token":
            words = f"{found.site} refuses the token, and so public repositories too"
            way_out = "Correct or unset HF_TOKEN, or run `hf auth login` (`hf auth logout`)."
            return Check("Hub", "warning", words, way_out, facts)
        case _:
            way_out = f"Check the network, proxies and HF_ENDPOINT. {_WITHOUT}"
            return Check("Hub", "warning", found.reason, way_out, facts)


def shell() -> Check:
    """Whether ``select`` can be typed in the user's shell, which may reserve the word."""
    path = os.environ.get("SHELL", "")
    name = Path(path).name
    if name in _FREE:
        return Check("shell", "ok", f"{name} does not reserve `select`", facts={"shell": name})
    way_out = "`selector` is the same command and works everywhere."
    if name not in _RESERVING:
        words = f"unknown whether {printable(name) or 'it'} reserves `select`"
        return Check("shell", "warning", words, way_out, {"shell": printable(name)})
    present = _has_alias(path)
    if present is None:
        words = f"unknown whether {name} has the alias for `select`: its start-up did not end well"
        return Check("shell", "warning", words, way_out, {"shell": name})
    if present:
        return Check("shell", "ok", f"{name} has the alias for `select`", facts={"shell": name})
    return Check(
        "shell",
        "warning",
        f"{name} reserves `select` and has no alias: use `selector`",
        f'Or put this into ~/.{name}rc: eval "$(selector shell-init {name})"',
        {"shell": name},
    )


def _has_alias(shell: str) -> bool | None:
    """Whether an interactive shell knows an alias ``select``; None where it does not say."""
    # A file, not a pipe: what the user's start-up leaves in the background keeps a pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                [shell, "-ic", f"alias select; echo {_DONE}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return None
        try:
            process.wait(_SHELL_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    if _DONE not in lines:
        return None
    return any(line.removeprefix("alias ").startswith("select=") for line in lines)
