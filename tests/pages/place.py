"""A folder in which everything that the pages name exists, and a Hub on this machine."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from fakehub import datasets
from fakehub.server import FakeHub
from PIL import Image

from pages.reading import ROOT

DEMO = ROOT / "selector" / "demo"
ZOO = DEMO / "zoo"
TOKEN = "hf_secrettoken"

# Repositories of the Hub, and the networks of the built-in zoo that stand for their weights: they
# load as any of timm's and are measured in seconds.
NETWORKS = {
    "timm/resnet50.a1_in1k": "tiny_resnet.cifar10_linf_8",
    "timm/vit_small_patch16_224.dino": "tiny_vit.cifar10_linf_8",
}
PICKLES = "madrylab/robust-imagenet-models"

# Cheap, and from the environment: what is typed is before it. Few of the 84 candidates are on
# this Hub, and a few of the built-in zoo do for a look.
CHEAP = {
    "SELECT_RANK_PRESET": "quick",
    "SELECT_RANK_STEPS": "2",
    "SELECT_RANK_RESTARTS": "1",
    "SELECT_RANK_TRAIN_IMAGES": "40",
    "SELECT_RANK_TEST_IMAGES": "20",
    "SELECT_RANK_IMAGE_SIZE": "32",
    "SELECT_RANK_ONLY": " ".join([*NETWORKS, "ours", "mobilenetv2_*", "none", "tiny_*linf_[48]"]),
    # A certificate at 1.0 with --sigma 0.5 takes 301 draws.
    "SELECT_CERTIFY_DRAWS": "400",
    "SELECT_CERTIFY_TRAIN_IMAGES": "40",
    "SELECT_CERTIFY_TEST_IMAGES": "12",
    "SELECT_CERTIFY_IMAGE_SIZE": "32",
    "SELECT_CERTIFY_ONLY": " ".join([*NETWORKS, "tiny_resnet.cifar10_linf_4"]),
}

POLICY = "min_attacked_accuracy: 0.6\nmin_estimated_accuracy: 0.8\nlicense: [apache-2.0, mit]\n"


def network(name: str) -> dict[str, bytes]:
    """The files of a network of the built-in zoo."""
    return {path.name: path.read_bytes() for path in (ZOO / name).iterdir()}


def pickled_resnet18() -> bytes:
    """Random weights in the form that the registry says of the robust networks of madrylab."""
    torch.manual_seed(0)
    weights = timm.create_model("resnet18", pretrained=False).state_dict()
    file = io.BytesIO()
    torch.save({"model": {f"module.model.{name}": one for name, one in weights.items()}}, file)
    return file.getvalue()


def fill(hub: FakeHub) -> None:
    """Put on a Hub what the pages name."""
    for repo_id, name in NETWORKS.items():
        card = b"---\nlicense: apache-2.0\n---\n"
        commit = hub.add(repo_id, network(name) | {"README.md": card})
        hub.listing.add(repo_id, sha=commit)
    hub.add(PICKLES, {"resnet18_linf_eps4.0.ckpt": pickled_resnet18()})
    hub.add("datasets/owner/name", datasets.plates())
    hub.members.add(TOKEN)


def make_photos(folder: Path, train: int = 20, test: int = 8) -> None:
    """Dark and light images: a task that any network can learn, so that a gate is kept."""
    for part, count in (("train", train), ("test", test)):
        for name, grey in (("dark", 40), ("light", 215)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                colour = (grey + number % 7, grey - number % 5, grey + number)
                image = Image.new("RGB", (48, 40), colour)
                image.save(folder / part / name / f"{number:03}.jpg")


def manifest(folder: Path) -> str:
    """The images of a task with two labels each, and all parts, so that none is drawn."""
    rows = ["path,species,habitat,split"]
    for path in sorted(folder.rglob("*.jpg")):
        number, part = int(path.stem), path.parts[-3]
        part = "validation" if part == "train" and number % 4 == 0 else part
        habitat = ("water", "land")[number % 2]
        rows.append(f"{path.relative_to(folder.parent)},{path.parts[-2]},{habitat},{part}")
    return "\n".join(rows) + "\n"


@dataclass(frozen=True)
class Place:
    """Where the commands of one page are typed.

    Attributes:
        folder: the working folder; caches are in it, hidden.
        hub: the only Hub that is seen.
        cheap: what the environment says of options.
    """

    folder: Path
    hub: FakeHub
    cheap: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """A machine of its own: no other home, cache, Hub or options, no colours."""
        hidden = self.folder / ".home"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SELECT", "HF_", "RAY_")) and name != "COLUMNS"
        }
        mine = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "PYTHONPATH": str(ROOT),
            "HOME": str(hidden),
            "SELECTOR_CACHE": str(hidden / "selector"),
            "HF_TOKEN": TOKEN,
            # Else Ray writes one into the home folder.
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        return kept | self.hub.environment(hidden / "hf") | mine | dict(self.cheap)

    def key(self) -> str:
        """The beginning of the key of a measurement in the store."""
        with closing(sqlite3.connect(self.folder / ".home/selector/measurements.sqlite")) as store:
            (key,) = store.execute("SELECT key FROM measurements ORDER BY key").fetchone()
        return str(key)[:12]


def for_commands(folder: Path, hub: FakeHub) -> Place:
    """A place with what the pages name, and cheap options in the environment."""
    place = Place(folder, hub, CHEAP)
    (folder / ".home").mkdir(parents=True)
    for name in ("DIR", "clothing_small"):
        make_photos(folder / name)
    (folder / "images.csv").write_text(manifest(folder / "DIR"), encoding="utf-8")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    for name in ("checkpoints/ours", "mobilenetv2_100.imagenet", "mobilenetv2_035.imagenet"):
        shutil.copytree(ZOO / "tiny_resnet.cifar10_linf_4", folder / name)
    # Pages that name files of the repository are typed in its root.
    shutil.copytree(ROOT / "examples", folder / "examples")
    return place


def for_pasted(folder: Path, hub: FakeHub) -> Place:
    """A place with the built-in zoo where pages say that it is, and no options."""
    (folder / ".home").mkdir(parents=True)
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    # Copied by the curator, and as it lies in the root of the repository.
    for name in (".", "selector/demo"):
        shutil.copytree(ZOO, folder / name / "zoo")
        shutil.copy(DEMO / "zoo.yaml", folder / name)
    return Place(folder, hub, {})


def begin(place: Place, command: str) -> None:
    """Run a line of shell that a page takes for granted."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr[-2000:]}")


def yesterday(place: Place) -> dict[str, bytes]:
    """What an earlier night has left: a registry, and two rankings."""
    begin(place, "selector discover --author timm -o zoo.yaml")
    begin(place, "selector rank --task DIR -o yesterday.json")
    ranking = (place.folder / "yesterday.json").read_bytes()
    registry = (place.folder / "zoo.yaml").read_bytes()
    return {"zoo.yaml": registry, "yesterday.json": ranking, "last-week.json": ranking}
