"""Valid input, made by the project itself or by the libraries that define a format."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pyarrow
import pyarrow.parquet
import report_documents
import test_regression_ranking as regression
import timm
import torch
from PIL import Image
from safetensors.torch import save

from selector.candidates import Lock, lock_yaml
from selector.records import Certification, Curve, CurvePoint, Ranking, ThreatRecord
from selector.reports.document import to_json

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = {"channels": [8, 8, 8, 8], "stem_width": 4, "stem_type": "deep"}
PICTURES = 12
"""Files 0.png to 11.png that tables name."""


def ranking() -> Ranking:
    """Three candidates on eight images, with all that a ranking can have."""
    whole = report_documents.full(("a", "b", "c"))
    small = builders.ranking(
        [
            builders.evaluation(name, builders.right(n, 8))
            for name, n in (("a", 6), ("b", 5), ("c", 1))
        ],
        [builders.skipped()],
        source="hf:owner/plates",
        revision="c" * 40,
    )
    point = whole.curves[0].points[0] if whole.curves else None
    assert isinstance(point, CurvePoint)
    curves = tuple(
        Curve(
            name=e.name,
            model=e.model,
            points=tuple(
                point.model_copy(update={"threat": threat})
                for threat in (small.threat, ThreatRecord(norm="l2", eps=0.5))
            ),
        )
        for e in small.ranking
    )
    return small.model_copy(
        update={
            "curves": curves,
            "certified": (
                builders.certified("a", (0.5, 0.0) * 4, (True,) * 8),
                builders.skipped("b"),
            ),
            "race": whole.race,
            "lock": whole.lock,
        }
    )


def rankings() -> list[bytes]:
    """With everything, with nothing, and with a candidate that stumbled."""
    flagged = builders.ranking(
        [builders.evaluation("a", builders.right(2, 4), flags=["masked_gradients"], vacuous=True)]
    )
    return [to_json(one).encode() for one in (ranking(), builders.ranking(), flagged)]


def documents() -> list[bytes]:
    """The other documents that selector writes."""
    errors = regression.drawn(0.4, images=6)
    numbers = regression.document(
        regression.evaluation("a", errors),
        regression.evaluation("b", regression.drawn(0.8, images=6), masked=True),
    )
    whole = ranking()
    made = {name: getattr(whole, name) for name in type(builders.made()).model_fields}
    proven = builders.certified()
    certification = Certification(
        **{name: made[name] for name in Certification.model_fields if name in made}
        | {"skipped": ()},
        task=whole.task,
        smoothing=proven.smoothing,
        certified=(proven,),
    )
    return [to_json(numbers).encode(), to_json(certification).encode()]


def registries() -> list[bytes]:
    """The zoo's, one entry of each kind of the registry, and one with anchors."""
    anchors = b"""\
x-common: &common
  license: mit
  tags: [robust, small]
candidates:
  - model: hf-hub:timm/resnet18.a1_in1k@main
    <<: *common
    parameters: 11689512
  - {model: local-dir:zoo/a, name: a, <<: *common}
  - model: hf-hub:owner/name
    checkpoint: &checkpoint
      file: model.pt
      architecture: resnet10t
      num_classes: 10
      input_size: 32
      mean: [0.5, 0.5, 0.5]
      std: [0.25, 0.25, 0.25]
      format: open_clip
      model_args: {width: 2}
      state_key: state_dict
      key_prefix: 'module.'
    pretraining: {objective: adversarial, data: CIFAR-10, norm: linf, eps: 0.0157}
"""
    zoo, shipped = ROOT / "selector/demo/zoo.yaml", ROOT / "registry.yaml"
    return [zoo.read_bytes(), anchors, shipped.read_bytes()]


def locks() -> list[bytes]:
    """A lock of what lies on the Hub and of what lies in a folder."""
    file = {"name": "model.safetensors", "size": 12, "sha256": "a" * 64}
    config = {"name": "config.json", "size": 2, "sha256": "b" * 64}
    lock = Lock.model_validate(
        {
            "candidates": [
                {"model": "hf-hub:timm/a", "commit": "c" * 40, "files": [config, file]},
                {"model": "local-dir:zoo/b", "commit": None, "files": [config, file]},
            ]
        }
    )
    return [lock_yaml(lock).encode()]


def policies() -> list[bytes]:
    """The example's, and one with every key."""
    whole = b"""\
model: a
min_attacked_accuracy: 0.6
min_estimated_accuracy: 0.5
min_certified_accuracy: 0.4
at_radius: 1/2
min_clean_accuracy: 0.9
max_bound: 1.5
license: [apache-2.0, mit]
max_params: 100M
max_skipped: 0
max_age: 30d
by: interval
"""
    return [whole, (ROOT / "examples/policy.yaml").read_bytes()]


def readmes() -> list[bytes]:
    """A model card with results of others, and a list of results of its own."""
    card = b"""\
---
license: mit
# a comment
model-index:
- name: a
  results:
  - task: {type: image-classification}
    dataset: {name: x, type: x}
    metrics:
    - {type: accuracy, value: 0.5, name: Accuracy}
tags: [x]
---
# A model
"""
    results = b"""\
- dataset: {id: a/b, task_id: c}
  value: 0.5
  source: {url: 'https://example.org', name: x}
"""
    return [card, results, b"# No metadata\n"]


def configurations() -> list[bytes]:
    """selector.toml, and a pyproject.toml with its tables."""
    return [
        b'[rank]\neps = "4/255"\nmodel = ["a/b"]\nseed = 1\nfresh = true\n',
        b'[tool.selector.rank]\neps = "4/255"\ntask = "x"\n[tool.other]\na = 1\n',
    ]


def words() -> list[bytes]:
    """What is typed: sizes of perturbations, candidates, tasks, counts, ages."""
    return [
        b"4/255", b"0.5", b"1/255, 2/255, l2:0.5", b"linf:1e-3", b"1e5/3", b"owner/name", b"100M",
        b"hf-hub:timm/resnet18.a1_in1k@main", b"local-dir:zoo/a", b"hf:owner/name@main:default",
        b"builtin:digits", b"30d", b"elsewhere/tasks", b"a.csv", b"hf:owner/name",
    ]  # fmt: skip


def network(folder: Path) -> None:
    """A network in timm's layout, and as a pickle."""
    (folder / "config.json").write_bytes(configs()[0])
    (folder / "model.safetensors").write_bytes(weights()[0])
    (folder / "weights.pt").write_bytes(pickles()[0])


@cache
def _state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(timm.create_model("resnet10t", num_classes=10, **ARGUMENTS).state_dict())


def configs() -> list[bytes]:
    """config.json of a network whose weights lie beside it, in both of timm's forms."""
    pretrained = {
        "tag": "random",
        "license": "apache-2.0",
        "input_size": [3, 32, 32],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": [0.4914, 0.4822, 0.4465],
        "std": [0.247, 0.2435, 0.2616],
        "num_classes": 10,
        "first_conv": "conv1.0",
        "classifier": "fc",
    }
    new = {"architecture": "resnet10t", "num_classes": 10, "num_features": 8}
    vit = {
        "architecture": "vit_tiny_patch16_224",
        "model_args": {"depth": 1, "img_size": 32, "embed_dim": 12, "num_heads": 2},
    }
    return [
        json.dumps(one).encode()
        for one in (
            new | {"model_args": ARGUMENTS, "pretrained_cfg": pretrained},
            new | pretrained,
            vit | {"pretrained_cfg": pretrained},
        )
    ]


def weights() -> list[bytes]:
    """model.safetensors of a network whose config.json lies beside it."""
    halves = {name: tensor.bfloat16() for name, tensor in _state().items()}
    return [save(_state(), {"format": "pt"}), save(halves)]


def entries() -> list[bytes]:
    """Registries whose entry describes how to load the weights beside them."""
    return [
        f"""\
candidates:
  - model: local-dir:.
    license: mit
    checkpoint:
      file: {file}
      architecture: resnet10t
      num_classes: 10
      input_size: 32
      mean: [0.5, 0.5, 0.5]
      std: [0.25, 0.25, 0.25]
      interpolation: bicubic
      format: {form}
      model_args: {json.dumps(ARGUMENTS)}
      state_key: {key}
      key_prefix: '{prefix}'
""".encode()
        for file, form, key, prefix in (
            ("model.safetensors", "timm", "null", ""),
            ("weights.pt", "timm", "state_dict", "module."),
            ("model.safetensors", "transformers_vit", "null", ""),
        )
    ]


def pickles() -> list[bytes]:
    """What torch.save writes, in both of its formats, and pickles of other things."""
    state = {"state_dict": _prefixed(), "epoch": 3, "args": ["a", {"lr": 0.1}]}
    small = {"state_dict": {"module.a": torch.ones(2, 3), "module.b": torch.zeros(4).half()}}
    found = []
    for one, zipped in ((state, True), (small, True), (small, False)):
        buffer = io.BytesIO()
        torch.save(one, buffer, _use_new_zipfile_serialization=zipped)
        found.append(buffer.getvalue())
    return [*found, *(pickle.dumps(small | {"a": np.float64(1)}, protocol=p) for p in (0, 2, 4))]


def _prefixed() -> dict[str, Any]:
    return {f"module.{name}": tensor for name, tensor in _state().items()}


def pictures(folder: Path) -> None:
    """Files that tables name, one of them no image."""
    for place in range(PICTURES - 1):
        Image.new("RGB", (9, 8), (place * 20, 255 - place * 20, 9)).save(folder / f"{place}.png")
    (folder / f"{PICTURES - 1}.png").write_bytes(b"no image")


def rows() -> list[dict[str, Any]]:
    """Rows of a table of images with classes, numbers and splits."""
    return [
        {
            "path": f"{place}.png",
            "label": ("cat", "dog")[place % 2],
            "value": place / 7,
            "split": ("train", "validation", "test")[place // 4],
        }
        for place in range(PICTURES - 1)
    ]


def cells(delimiter: str) -> list[bytes]:
    """A manifest with splits, one without, and one with numbers for classes."""
    lines = [list(rows()[0]), *([str(cell) for cell in row.values()] for row in rows())]
    plain = [line[:3] for line in lines]
    numbers = [plain[0], *([a, str("cat dog".index(b)), c] for a, b, c in plain[1:])]
    quoted = [lines[0], *([f'"{line[0]}"', *line[1:]] for line in lines[1:])]
    return [
        "\n".join(map(delimiter.join, table)).encode() + b"\n"
        for table in (lines, plain, numbers, quoted)
    ]


def json_lines() -> list[bytes]:
    """The same as JSON lines."""
    return ["\n".join(map(json.dumps, rows())).encode() + b"\n"]


def tables() -> list[bytes]:
    """Parquet with images inside it, as bytes, as files and as ``datasets`` writes them."""
    encoded = []
    for row in rows():
        buffer = io.BytesIO()
        color = (round(row["value"] * 100), 80, 9)
        Image.new("RGB", (9, 8), color).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    structs = [{"bytes": one, "path": None} for one in encoded]
    labels = [row["label"] for row in rows()]
    values = [row["value"] for row in rows()]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        "value": {"dtype": "float64", "_type": "Value"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    places = [("cat", "dog").index(label) for label in labels]
    made = (
        pyarrow.table({"image": encoded, "label": labels, "value": values}),
        pyarrow.table({"image": structs, "label": places, "value": values}).replace_schema_metadata(
            metadata
        ),
    )
    return [_parquet(table) for table in made]


def _parquet(table: pyarrow.Table) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def images() -> list[bytes]:
    """Small images in every format and mode that Pillow writes, and some that it only reads."""
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some formats will leave Pillow
        found = [data for form in sorted(Image.SAVE) for data in _in_modes(form)]
    return [*found, *_unwritable()]


_MODES = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "YCbCr", "I;16", "I", "F", "LAB", "HSV")


def _in_modes(form: str) -> Iterator[bytes]:
    ramp = Image.fromarray(np.arange(16 * 12 * 3, dtype=np.uint8).reshape(12, 16, 3))
    for mode in _MODES:
        image = (
            ramp.convert("L").convert(mode) if mode in ("I;16", "I", "F") else ramp.convert(mode)
        )
        options: dict[str, Any] = {}
        if form in ("JPEG", "PNG", "WEBP", "TIFF") and mode in ("RGB", "L"):
            exif = Image.Exif()
            exif[0x0112] = 6
            exif[0x010E] = "a ramp"
            options["exif"] = exif
        if mode == "P":
            options["transparency"] = 0
        if form in ("GIF", "PNG", "WEBP", "TIFF", "PDF", "AVIF") and mode in ("RGB", "P"):
            options |= {"save_all": True, "append_images": [image, image]}
        buffer = io.BytesIO()
        try:
            image.save(buffer, form, **options)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            NotImplementedError,
            SystemError,
            AttributeError,
        ):
            continue  # Pillow does not write this mode so
        if buffer.tell() < 100_000:
            yield buffer.getvalue()


def _unwritable() -> Iterator[bytes]:
    """Beginnings of formats that Pillow recognises and does not write."""
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 12\n%%EndComments\n0 0 16 12 rectfill\n"
    yield b"P6 16 12 255\n" + bytes(16 * 12 * 3)
    yield b"P7\nWIDTH 4\nHEIGHT 4\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes(48)
    yield b"Pf\n4 4\n-1.0\n" + bytes(64)
    yield (
        b"8BPS\0\1"
        + bytes(6)
        + b"\0\3"
        + b"\0\0\0\4\0\0\0\4"
        + b"\0\x08\0\3"
        + bytes(12)
        + bytes(50)
    )
    yield b"qoif" + b"\0\0\0\4\0\0\0\4\3\0" + b"\xc0" * 4 + bytes(7) + b"\1"
    yield b"\x59\xa6\x6a\x95" + b"\0\0\0\4" * 2 + b"\0\0\0\x18" + bytes(16) + bytes(48)
    yield (
        b'/* XPM */\nstatic char *a[] = {\n"2 2 2 1",\n"a c #ff0000",\n"b c #00ff00",\n"ab",\n'
        b'"ba"};\n'
    )
    yield (
        b"SIMPLE  =                    T"
        + b" " * 50
        + b"BITPIX  =                    8"
        + b" " * 50
    )
    yield b"\x28\x00\x00\x00" + bytes(200)
    fli = bytearray(b"\0\0\0\0\x12\xaf\2\0\x10\0\x0c\0\x08\0" + bytes(114))
    yield bytes(fli) + b"\x20\0\0\0\xfa\xf1\1\0" + bytes(24)
    yield b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    yield b"GIF89a\x04\0\x04\0\xf0\0\0" + b"\0\0\0\xff\xff\xff" + b"!\xf9\4\1\0\0\0\0" * 500 + b";"
