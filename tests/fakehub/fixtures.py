"""Fixtures of the fake Hub; a test module takes them with ``fake_hub = fixtures.fake_hub``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from .server import FakeHub


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    """A Hub without repositories."""
    with FakeHub() as hub:
        yield hub


class Waits(list[float]):
    """Stands for the module ``time`` of another module: sleeps are noted, not slept."""

    def sleep(self, seconds: float) -> None:
        self.append(seconds)

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """The seconds that the Hub client and selector.hub would have slept."""
    noted = Waits()
    monkeypatch.setattr("huggingface_hub.utils._http.time", noted)
    monkeypatch.setattr("huggingface_hub.file_download.time", noted)
    monkeypatch.setattr("selector.hub.client._sleep", noted.sleep)
    return noted


@pytest.fixture
def hub_cache(fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and this process's Hub client directed to the fake Hub.

    The client reads its environment when it is imported, which another test has done by now; what
    it read then is replaced.
    """
    cache = tmp_path / "hf" / "hub"
    url = fake_hub.url
    values = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(tmp_path / "hf" / "token"),
        "HF_STORED_TOKENS_PATH": str(tmp_path / "hf" / "stored_tokens"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": False,
    }
    for name, value in values.items():
        monkeypatch.setattr(constants, name, value)
    for name, text in fake_hub.environment(tmp_path / "hf").items():
        monkeypatch.setenv(name, text)
    huggingface_hub.close_session()
    yield cache
    huggingface_hub.close_session()
