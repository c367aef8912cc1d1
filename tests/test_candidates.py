"""Candidates: what names one, and what a registry file may hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from selector.candidates import (
    Candidate,
    builtin_zoo,
    default_registry,
    from_models,
    read_registry,
)
from selector.errors import UsageError

PROJECT = Path(__file__).parent.parent
TWO = "candidates:\n  - model: hf-hub:acme/one\n  - model: hf-hub:acme/two\n"


def registry(folder: Path, text: str) -> Path:
    """A registry file."""
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> str:
    """What is said of a registry that must be refused: the option and the file, in any case."""
    with pytest.raises(UsageError) as caught:
        read_registry(path)
    assert caught.value.message.startswith("--registry ")
    assert str(path) in caught.value.message
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "repo_id", "revision", "name"),
    [
        ("acme/tiny", "acme/tiny", None, "acme/tiny"),
        ("hf-hub:acme/tiny", "acme/tiny", None, "acme/tiny"),
        ("acme/tiny@main", "acme/tiny", "main", "acme/tiny@main"),
        ("hf-hub:acme/tiny@v1.0", "acme/tiny", "v1.0", "acme/tiny@v1.0"),
        ("acme/tiny@refs/pr/1", "acme/tiny", "refs/pr/1", "acme/tiny@refs/pr/1"),
        ("a-1/b_c.d-e", "a-1/b_c.d-e", None, "a-1/b_c.d-e"),
        (f"acme/tiny@{'a' * 40}", "acme/tiny", "a" * 40, f"acme/tiny@{'a' * 40}"),
    ],
)
def test_hub_models(given: str, repo_id: str, revision: str | None, name: str) -> None:
    (candidate,) = from_models([given])
    assert candidate.source == "hub"
    assert (candidate.repo_id, candidate.revision) == (repo_id, revision)
    assert candidate.name == name
    assert candidate.model.startswith("hf-hub:acme/" if "acme" in given else "hf-hub:a-1/")


def test_local_models(tmp_path: Path) -> None:
    (candidate,) = from_models([f"local-dir:{tmp_path / 'mine'}"])
    assert candidate.source == "local"
    assert candidate.directory == tmp_path / "mine"
    assert candidate.name == "mine"


def test_a_local_model_may_be_relative_or_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    here, home = from_models(["local-dir:.", "local-dir:~/nets/best"])
    assert here.name == tmp_path.name
    assert home.directory == Path("/home/someone/nets/best")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "tiny",
        "acme/",
        "/tiny",
        "acme/tiny/more",
        "acme/tiny@",
        "hf-hub:",
        "hf-hub:tiny",
        "hf_hub:acme/tiny",
        "local-dir:",
        "./tiny",
        "/data/tiny",
        " acme/tiny",
        "acme/tiny\n",
        "https://huggingface.co/acme/tiny",
    ],
)
def test_models_of_no_known_form(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_models(["acme/fine", given])
    assert caught.value.message.startswith("--model ")
    assert "hf-hub:owner/name" in caught.value.message
    assert "local-dir:PATH" in caught.value.message
    assert repr(given)[1:-1] in caught.value.message


def test_a_model_is_given_once() -> None:
    with pytest.raises(UsageError, match=r"^--model names hf-hub:acme/tiny twice"):
        from_models(["acme/tiny", "acme/other", "hf-hub:acme/tiny"])
    assert len(from_models(["acme/tiny", "acme/tiny@main"])) == 2


def test_candidates_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Candidate(model="hf-hub:acme/tiny").license = "mit"  # type: ignore[misc]


def checkpoint(**changes: str) -> str:
    """The checkpoint of the entry at line 4; ``file`` is at line 6, ``format`` at line 12."""
    fields = {
        "file": "net.ckpt",
        "architecture": "resnet18",
        "num_classes": "1000",
        "input_size": "224",
        "mean": "[0.5, 0.5, 0.5]",
        "std": "[0.5, 0.5, 0.5]",
        "format": "timm",
    } | changes
    return "    checkpoint:\n" + "".join(f"      {key}: {fields[key]}\n" for key in fields)


def test_a_registry_entry_with_everything(tmp_path: Path) -> None:
    path = registry(
        tmp_path,
        "candidates:\n"
        "  - model: hf-hub:acme/tiny@v1\n"
        "    license: mit\n"
        "    pretraining: {objective: adversarial, data: ImageNet-1k, norm: l2, eps: 3.0}\n"
        "    tags: [robust, small]\n",
    )
    (candidate,) = read_registry(path)
    assert candidate.model == "hf-hub:acme/tiny@v1"
    assert candidate.license == "mit"
    assert candidate.pretraining is not None
    assert candidate.pretraining.model_dump() == {
        "objective": "adversarial",
        "data": "ImageNet-1k",
        "norm": "l2",
        "eps": 3.0,
    }
    assert candidate.tags == ("robust", "small")


def test_a_registry_keeps_its_order(tmp_path: Path) -> None:
    assert [c.name for c in read_registry(registry(tmp_path, TWO))] == ["acme/one", "acme/two"]


def test_local_folders_are_relative_to_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = registry(
        tmp_path, "candidates:\n  - model: local-dir:nets/a\n  - model: local-dir:/data/b\n"
    )
    relative, absolute = read_registry(path)
    assert relative.directory == tmp_path / "nets" / "a"
    assert absolute.directory == Path("/data/b")


def test_a_missing_registry(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.yaml")
    assert "Is a directory" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("candidates: [", "is not YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("", "must hold a list called candidates:"),
        ("- model: hf-hub:acme/one\n", "must hold a list called candidates:"),
        ("candidates: {model: hf-hub:acme/one}\n", "must hold a list called candidates:"),
        ("models:\n  - model: hf-hub:acme/one\n", "must hold a list called candidates:"),
        ("candidates: []\n", "lists no candidate"),
        (
            TWO + "  - model: hf-hub:acme/one\n",
            "line 4: hf-hub:acme/one is there already, at line 2",
        ),
        (TWO + "  - model: acme/three\n", "line 4: model: must be hf-hub:owner/name"),
        (TWO + "\n\n  - tags: [a]\n", "line 6: model: is required"),
        (TWO + "  - acme/three\n", "line 4: "),
        (
            TWO + "  - model: hf-hub:acme/three\n    licence: mit\n",
            "line 5: licence: unknown field; did you mean license.",
        ),
        (
            TWO + "  - model: hf-hub:acme/three\n    pretraining: {objective: DINO}\n",
            "line 5: pretraining.data: is required",
        ),
        (
            "candidates:\n  - model: hf-hub:acme/one\n"
            "    pretraining: {objective: a, data: b, norm: l1}\n" + TWO.partition("\n")[2],
            "line 3: pretraining.norm: ",
        ),
        (
            TWO + "  - model: hf-hub:acme/three\n"
            "    pretraining: {objective: a, data: b, eps: -1}\n",
            "line 5: pretraining.eps: Input should be greater than or equal to 0, found -1",
        ),
    ],
)
def test_registries_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(registry(tmp_path, text))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("    license: [mit]\n", "line 5: license: Input should be a valid string, found ['mit']"),
        ("    tags: robust\n", "line 5: tags: "),
        ("    parameters: 0\n", "line 5: parameters: Input should be greater than 0, found 0"),
        (
            "    pretraining: {objectiv: a, data: b}\n",
            "line 5: pretraining.objectiv: unknown field; did you mean objective",
        ),
        (
            "    pretraining:\n      objective: a\n      data: b\n      zzz: 1\n",
            "line 8: pretraining.zzz: unknown field; known are objective, data, norm, eps",
        ),
        ("    license: mit\n    license: mit\n", "line 6: license is given already at line 5"),
        ("    name: acme/one\n", "line 4: acme/one is there already, at line 2"),
        ("    parameters: true\n", "line 5: parameters: Input should be a valid integer"),
        ("    license: 2020-13-45\n", "is not YAML: month must be in 1..12"),
        ("    parameters: !!int abc\n", "is not YAML: invalid literal"),
        ("    license: &a [*a]\n", "must stand for fewer than"),
        (checkpoint(file="net.zip"), "line 6: checkpoint.file: must end in one of .safetensors"),
        (checkpoint(file="../net.ckpt"), "line 6: checkpoint.file: must be a path inside"),
        (checkpoint(std="[1, 0, 1]"), "line 11: checkpoint.std.1: Input should be greater than 0"),
        (checkpoint(mean="[124, 116, 104]"), "line 10: checkpoint.mean.0: Input should be less"),
        (checkpoint(std="[58, 57, 57]"), "line 11: checkpoint.std.0: Input should be less"),
        (checkpoint(format="dill"), "line 12: checkpoint.format: Input should be 'timm', "),
    ],
)
def test_bad_entries_are_told_with_line_and_fix(tmp_path: Path, entry: str, said: str) -> None:
    assert said in refused(registry(tmp_path, TWO + "  - model: hf-hub:acme/three\n" + entry))


def test_a_few_lines_that_stand_for_millions_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["x-0: &a0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    merged = [f"x-m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    for bomb in ([*lines, "x-10: *a9"], ["x-m0: &m0 {a: b}", *merged]):
        text = "\n".join([*bomb, TWO])
        assert "must stand for fewer than" in refused(registry(tmp_path, text))


def test_entries_may_share_a_repository_and_anchors(tmp_path: Path) -> None:
    path = registry(
        tmp_path,
        "x-net: &net {architecture: resnet18, num_classes: 5, input_size: 32, mean: [0, 0, 0],"
        " std: [1, 1, 1]}\n"
        "candidates:\n"
        "  - {model: hf-hub:acme/nets, name: a, checkpoint: {<<: *net, file: a.ckpt}}\n"
        "  - {model: hf-hub:acme/nets, name: b, checkpoint: {<<: *net, file: b.safetensors}}\n",
    )
    first, second = read_registry(path)
    assert first.files == ("a.ckpt",)
    assert first.checkpoint is not None
    assert first.checkpoint.pickled
    assert second.checkpoint is not None
    assert not second.checkpoint.pickled
    assert first.checkpoint.architecture == second.checkpoint.architecture == "resnet18"
    text = path.read_text(encoding="utf-8").replace("name: b", "name: a")
    assert "line 4: a is there already, at line 3" in refused(registry(tmp_path, text))
    text = path.read_text(encoding="utf-8").replace("num_classes: 5", "num_classes: -5")
    assert "line 1: checkpoint.num_classes: " in refused(registry(tmp_path, text))


def test_infinite_eps_is_refused_since_documents_cannot_hold_it(tmp_path: Path) -> None:
    entry = "  - model: hf-hub:acme/three\n    pretraining: {objective: a, data: b, eps: .inf}\n"
    assert "line 5: pretraining.eps: " in refused(registry(tmp_path, TWO + entry))


def test_a_registry_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("# é\n".encode("latin-1") + TWO.encode())
    assert "UTF-8" in refused(path)


def test_a_list_of_candidates_given_twice_is_refused(tmp_path: Path) -> None:
    # YAML takes the last of two equal keys, so that the first list would be lost in silence.
    refused(registry(tmp_path, "candidates:\n  - model: hf-hub:acme/zero\n" + TWO))


def test_the_default_registry_is_that_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = default_registry()
    assert shipped.is_file()
    assert shipped.parent != tmp_path
    (tmp_path / "registry.yaml").write_text(TWO, encoding="utf-8")
    assert default_registry().resolve() == tmp_path / "registry.yaml"


def test_the_shipped_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    candidates = read_registry(default_registry())
    assert default_registry() == PROJECT / "registry.yaml"
    assert len(candidates) >= 10
    for candidate in candidates:
        # What the Hub accepts: 96 characters, no "--" and no "..", none of -. at either end.
        assert candidate.source == "hub", candidate.model
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", candidate.repo_id, re.ASCII), candidate.model
        assert len(candidate.repo_id) <= 96, candidate.model
        assert not re.search(r"--|\.\.|(^|/)[-.]|[-.](/|$)", candidate.repo_id), candidate.model
        assert candidate.license, candidate.model
        assert candidate.pretraining, candidate.model


def test_the_builtin_zoo() -> None:
    candidates = builtin_zoo()
    assert len(candidates) >= 4
    for candidate in candidates:
        assert candidate.source == "local"
        assert sorted(path.name for path in candidate.directory.iterdir()) == [
            "config.json",
            "model.safetensors",
        ]
        assert candidate.license, candidate.model
        assert candidate.pretraining, candidate.model


# --- found by fuzzing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["!!timestamp 1", "!!int ''", "!!bool x", '"\\ud800"', "!!python/object/apply:os.system [id]"],
)
def test_values_that_the_reader_stumbles_over(tmp_path: Path, value: str) -> None:
    assert "is not YAML" in refused(registry(tmp_path, f"candidates: [{{model: {value}}}]\n"))


def test_an_integer_that_cannot_be_written(tmp_path: Path) -> None:
    text = f"candidates:\n  - model: hf-hub:a/b\n    license: 0x{'f' * 5000}\n"
    assert "must have at most 100 digits, found 5,002" in refused(registry(tmp_path, text))


def test_a_long_registry_is_not_read(tmp_path: Path) -> None:
    path = registry(tmp_path, f"# {'a' * 10**6}\n{TWO}")
    assert "it holds more than 1,000,000 bytes" in refused(path)


def test_nesting_without_end_is_refused_at_once(tmp_path: Path) -> None:
    said = refused(registry(tmp_path, "candidates: " + "[" * 400_000))
    # By libyaml, or by us where it is older.
    assert "nesting depth" in said or "must have at most 50 levels" in said
    deep = "candidates: " + "[" * 60 + "]" * 60
    assert "must have at most 50 levels" in refused(registry(tmp_path, deep))


def test_a_missing_registry_with_a_hostile_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_registry(tmp_path / "a\x1b[31m")
    assert caught.value.message.isprintable()
