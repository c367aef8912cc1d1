"""What the harness cannot see in a page: what is not run, other exit codes, what words stand for.

Commands are as :attr:`pages.reading.Block.commands` has them. An entry that no page has is a
mistake, and so is a command that would start something else than PROGRAMS and is not in NOT_RUN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pages.reading import Block, programs

# What a line may start; "file" is what follows a redirection. All else must be in NOT_RUN.
PROGRAMS = ("selector", "jq", "eval", "examples/nightly.sh", "file")
OF_PYTHON = (["-m", "selector.demo.discs"], ["examples/curate.py"])

_INSTALLS = "installs from the network; every workplace of this repository begins with it"
_CLUSTER = "needs other machines"
_OWN = "is a program of its own, which the page tells the results of"

# Command: why it is not run.
NOT_RUN: Mapping[str, str] = {
    "make rank": "is `selector rank` in an environment that pip fills; that is run",
    "make test": "the tests themselves",
    "make check": "the linters; part of `make test`",
    "make docs": "would write the pages that are being read; `tests/test_docs.py` compares them",
    "make fuzz": _OWN,
    "make check-crash": _OWN,
    "make check-crash KILLS=10": _OWN,
    "PYTHONPATH=tests python tests/crash/check_crash.py --fault hub --fault clock": _OWN,
    "make bench-ranking DATA=FOLDER TASKS=FOLDER": _OWN,
    'python benchmarks/ranking_quality.py --backbones "tiny_vit.*" --images 16': (
        "needs AutoAttack, in an environment of its own"
    ),
    "pip install .": _INSTALLS,
    'pip install "selector[ray]"': _INSTALLS,
    "ray start --head --port=6379": "opens ports to other machines, and stays",
    "ray start --address=10.0.0.7:6379": _CLUSTER,
    "selector rank --task DIR --engine 10.0.0.7:6379": _CLUSTER,
    "selector rank --task DIR --engine ray://10.0.0.7:10001": _CLUSTER,
    "17 3 * * * TASK=/data/plates flock -n /var/lib/zoo.lock /opt/zoo/examples/nightly.sh "
    "/var/lib/zoo": "a line of a crontab; what it starts is run",
}

_ABSENT = "a candidate is not there, which the page shows"

# Command: the exit codes that its page tells, and where it tells them. All others end with 0.
CODES: Mapping[str, tuple[tuple[int, ...], str]] = {
    "selector gate ranking.json --policy policy.yaml --model tiny_resnet.cifar10_linf_4": (
        (4,),
        "the page shows a violation",
    ),
    "selector rank --task clothing_small --model local-dir:mobilenetv2_100.imagenet "
    "--model local-dir:mobilenetv2_035.imagenet --model local-dir:none --image-size 128 "
    "--norm linf --eps 0.5/255 --preset quick --device cpu -o ranking.json": ((3,), _ABSENT),
    "selector rank --task builtin:digits --image-size 32 --preset quick "
    "--model local-dir:zoo/tiny_vit.cifar10 --model local-dir:zoo/nothing -o partial.json": (
        (3,),
        _ABSENT,
    ),
    "selector rank --budget 60s": (
        (0, 1),
        "on a machine with other work nothing may be measured in full by then; the page says so",
    ),
}

# Words that stand for others, and for what. KEY is the key of a row of the store.
KEY = "the key of a measurement"
STANDS_FOR: Mapping[str, str] = {
    "MODEL": "timm/resnet50.a1_in1k",
    "NAME": "timm/resnet50.a1_in1k",
    "/data/plates": "DIR",
    "/var/lib/zoo": "var/lib/zoo",
    "7411615942e3": KEY,
    "3f8a01c2": KEY,
}

# Page: what it takes for granted from its beginning, as a line of shell.
AT_FIRST: Mapping[str, str] = {
    # The rankings of the page are of numbers, and good enough for its gate.
    "docs/regression.md": "python -m selector.demo.discs discs && selector rank "
    "--task discs/discs.csv --target-column x --target-column y --target-column radius "
    "--model timm/resnet50.a1_in1k --model timm/vit_small_patch16_224.dino --train-images 400 "
    "--eps 2/255 -o ranking.json "
    "&& cp ranking.json yesterday.json",
}

# Command: what its page takes for granted, as commands that are run before it.
BEFORE: Mapping[str, str] = {
    # The ranking that the page began with.
    "selector gate ranking.json --policy policy.yaml --model tiny_resnet.cifar10_linf_4": (
        "selector rank -o ranking.json"
    ),
}

# Command: more for its environment.
MORE: Mapping[str, Mapping[str, str]] = {
    # So that there is a pickle to allow: a network of the usual size, so of few images.
    "selector rank --task DIR --license apache-2.0 --license mit --max-params 100M "
    "--allow-pickle": {
        "SELECT_RANK_ONLY": "timm/resnet50.a1_in1k madrylab/resnet18_linf_eps4.0",
        "SELECT_RANK_TRAIN_IMAGES": "12",
        "SELECT_RANK_TEST_IMAGES": "6",
    },
}

# Command: files that its page says it writes, beside those of -o and >.
WRITES: Mapping[str, tuple[str, ...]] = {
    "selector lock --registry zoo.yaml": ("zoo.lock.yaml",),
    "python -m selector.demo.discs discs": ("discs/discs.csv",),
    "TASK=/data/plates examples/nightly.sh /var/lib/zoo": tuple(
        f"/var/lib/zoo/{name}"
        for name in ("ranking.json", "zoo.yaml", "zoo.lock.yaml", "report.html", "card.yaml")
    ),
}

# Marked command: why its output is not compared line by line.
UNSTEADY: Mapping[str, str] = {
    "selector rank --budget 60s": "how far it comes in 60 s depends on the machine",
}


def startable(command: str) -> bool:
    """Whether a line starts only what the harness may start."""
    return all(
        program in PROGRAMS
        or (program == "python" and any(words[: len(one)] == one for one in OF_PYTHON))
        for program, *words in programs(command)
    )


def complaints(found: Iterable[Block]) -> list[str]:
    """Commands that are neither run nor listed, and entries that no page has."""
    pages = list(found)
    every = {command for block in pages for command in block.commands}
    marked = {command for block in pages if block.marked for command in block.commands}
    wrong = [
        f"{block.page}: neither run nor listed: {command}"
        for block in pages
        for command in block.commands
        if command not in NOT_RUN and not startable(command)
    ]
    listed = {*NOT_RUN, *CODES, *BEFORE, *MORE, *WRITES} - every | set(UNSTEADY) - marked
    wrong += [f"no page has: {command}" for command in sorted(listed)]
    wrong += [f"no page: {page}" for page in AT_FIRST if page not in {one.page for one in pages}]
    run = " ".join(every - set(NOT_RUN))
    wrong += [f"no page has the word: {word}" for word in STANDS_FOR if word not in run]
    return wrong
