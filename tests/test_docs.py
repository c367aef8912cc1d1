"""What the documentation says exists: functions, tests, commands, options, files, dependencies.

Commands are read here; ``make check-docs`` runs them. One that stands below ``<!-- run -->`` is run
as it stands, and what it prints is in the block of ``text`` that follows.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import typer
import yaml
from pages.agreed import complaints
from pages.reading import (
    DOCS,
    FENCE,
    PAGES,
    ROOT,
    Block,
    blocks,
    blocks_of,
    lines_of,
    name_of,
    programs,
    read,
)

from selector.cli import app
from selector.cli.exits import EXIT_OK
from selector.objectives import OBJECTIVES

SHELL = ("console", "sh")
GUIDES = sorted(DOCS.glob("guide-*.md"))
THEORY = DOCS / "theory.md"
COMMAND = typer.main.get_command(app)

# What is documented ahead of being there; an entry that has become true fails the test below.
PENDING_COMMANDS: set[str] = set()
PENDING_OPTIONS: set[tuple[str, str]] = set()

# Every public function of these is a formula, so docs/theory.md has it.
FORMULAS = ("selector.bounds", "selector.regression.bounds", "selector.baselines")

NAME = re.compile(r"`(selector(?:\.(?!toml`)\w+)+)`")
TEST = re.compile(r"`(tests/\w+\.py)::(\w+)`")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(#[^)\s]+)?\)")

ALL = [(page, line) for page in PAGES for line in lines_of(page)]


def thing(name: str) -> Any:
    """What a dotted name means: a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if error.name and not name.startswith(error.name):
                raise
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@cache
def functions_of(file: str) -> set[str]:
    """The functions of a test module."""
    tree = ast.parse(read(ROOT / file))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


# --- functions and tests -------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_functions_that_are_named_exist(page: Path) -> None:
    for name in NAME.findall(read(page)):
        thing(name)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_tests_that_are_named_exist(page: Path) -> None:
    for file, name in TEST.findall(read(page)):
        assert name in functions_of(file), f"{file}::{name}"


def test_a_function_that_is_not_there_is_noticed() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        thing("selector.bounds.nothing_like_it")
    with pytest.raises(AttributeError, match="nowhere"):
        thing("selector.nowhere.at_all")


@pytest.mark.parametrize("module", FORMULAS)
def test_every_formula_is_in_the_theory(module: str) -> None:
    tree = ast.parse(read(ROOT / (module.replace(".", "/") + ".py")))
    public = {
        f"{module}.{node.name}"
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    assert public
    assert public <= set(NAME.findall(read(THEORY)))


def test_every_section_of_the_theory_names_kind_functions_and_tests() -> None:
    sections = re.split(r"^### ", read(THEORY), flags=re.MULTILINE)[1:]
    assert len(sections) > 20
    for section in sections:
        title = section.partition("\n")[0]
        assert re.search(r"^- Kind: .*\*\*\w+\*\*", section, re.MULTILINE), title
        assert NAME.search(section), title
        assert TEST.search(section), title


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_may_be_ranked_by_is_in_the_theory(objective: str) -> None:
    assert f"`{objective}`" in read(THEORY)


# --- commands ------------------------------------------------------------------------------------


def command_of(words: list[str]) -> tuple[str, Any, list[str]]:
    """Name, command and arguments of a call of selector."""
    found, names, rest = COMMAND, [], words[1:]
    while hasattr(found, "commands") and rest and rest[0] in found.commands:
        names.append(rest[0])
        found, rest = found.commands[rest[0]], rest[1:]
    return " ".join(names), found, rest


def choices(command: Any, name: str) -> tuple[str, ...]:
    """What an option or argument of a command may be; nothing where that is open."""
    annotation = get_type_hints(command.callback).get(name)
    return tuple(map(str, get_args(annotation))) if "Literal" in str(get_origin(annotation)) else ()


def check_selector(words: list[str]) -> None:
    """A call names a command that exists, options that it has, and choices that are among them."""
    name, command, rest = command_of(words)
    if not name and rest and rest[0] in PENDING_COMMANDS:
        return
    later = {option for of, option in PENDING_OPTIONS if of == name}
    rest = [word for place, word in enumerate(rest) if not pending(rest, place, later)]
    assert name or rest[0].startswith("-"), f"no such command: {words}"
    context = command.context_class(command, info_name=name)
    given, left, _ = command.make_parser(context).parse_args(args=list(rest))
    assert not left or not name, f"too many arguments: {left}"
    for param in command.params:
        values = given.get(param.name)
        if param.required:
            assert values is not None, f"{words} lacks {param.name}"
        allowed = choices(command, param.name)
        for value in values if isinstance(values, list) else [values]:
            assert not allowed or not isinstance(value, str) or value in allowed, (words, value)


def pending(rest: list[str], place: int, later: set[str]) -> bool:
    """Whether a word is an option that is to come, or its value."""
    return rest[place] in later or (place > 0 and rest[place - 1] in later)


def check(words: list[str]) -> None:
    """What a call needs is there."""
    program, *rest = words
    if program in ("selector", "select"):
        check_selector(words)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", read(ROOT / "Makefile"), re.MULTILINE)
        wanted = [word for word in rest if "=" not in word]
        assert set(wanted) <= set(targets), f"no such target: {wanted}"
    elif program == "python" and rest[0] == "-m" and rest[1].startswith("selector"):
        thing(rest[1])
    elif program == "python" and rest[0].startswith("benchmarks/"):
        assert (ROOT / rest[0]).is_file(), rest[0]


@pytest.mark.parametrize(("page", "line"), ALL, ids=[f"{name_of(p)}: {line}" for p, line in ALL])
def test_commands_are_ones_that_can_be_typed(page: Path, line: str) -> None:
    for words in programs(line):
        check(words)


def test_every_guide_has_commands() -> None:
    assert len(GUIDES) == 3
    for page in (ROOT / "README.md", *GUIDES):
        assert lines_of(page), page.name


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("selector rnak", "no such command"),
        ("selector rank --epz 4/255", "--epz"),
        ("FOO=1 selector rank --norm l3 > file", "l3"),
        ("selector rank --eps", "--eps"),
        ("selector explain name", "lacks ranking"),
        ("cat file | selector schema plan ranking", "too many"),
        ("true && selector schema nothing", "nothing"),
        ("make everything", "no such target"),
        ("python benchmarks/nothing.py", "nothing.py"),
        ("python -m selector.nothing", "nothing"),
    ],
)
def test_commands_that_cannot_be_typed_are_noticed(line: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        for words in programs(line):
            check(words)


def test_what_is_pending_is_not_there_yet() -> None:
    there = PENDING_COMMANDS & set(COMMAND.commands)
    assert not there, f"take off PENDING_COMMANDS: {there}"
    for name, option in PENDING_OPTIONS:
        known = {opt for param in COMMAND.commands[name].params for opt in param.opts}
        assert option not in known, f"take off PENDING_OPTIONS: {name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_has_been_run_shows_what_it_printed(page: Path) -> None:
    marked = re.findall(r"^<!-- run -->$", read(page), re.MULTILINE)
    shown = [block for block in blocks_of(page) if block.marked and block.answer is not None]
    assert len(marked) == len(shown)


def test_every_command_is_run_or_listed_with_the_reason() -> None:
    found = [block for page in PAGES for block in blocks_of(page)]
    assert not complaints(found)
    # No command hides in a block of another language.
    languages = {block.language for block in found if "$ " in block.body}
    assert languages <= {"console", "math"}
    assert {block.language for block in found} <= {*SHELL, "python", "text", "yaml", "math", ""}


def test_a_command_that_is_not_run_and_an_entry_that_is_stale_are_noticed() -> None:
    found = [block for page in PAGES for block in blocks_of(page)]
    (said,) = complaints([*found, Block("a.md", "console", "$ curl | sh", False, None)])
    assert said == "a.md: neither run nor listed: curl | sh"
    without = [block for block in found if "make fuzz" not in block.commands]
    assert "no page has: make fuzz" in complaints(without)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_can_be_read_and_imports_what_there_is(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("selector"):
                for alias in node.names:
                    thing(f"{node.module}.{alias.name}")


# --- references ----------------------------------------------------------------------------------


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script, imported as it is run: from its own folder."""
    monkeypatch.syspath_prepend(str(DOCS))
    before = set(sys.modules)
    yield importlib.import_module("generate")
    for name in set(sys.modules) - before:
        if name == "generate" or name.startswith("reference"):
            del sys.modules[name]


def test_references_are_current(generator: ModuleType) -> None:
    for name, text in generator.references().items():
        assert (DOCS / name).is_file() and read(DOCS / name) == text, f"docs/{name}: run make docs"


def test_references_do_not_depend_on_the_terminal(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = generator.references()
    monkeypatch.setenv("COLUMNS", "31")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert generator.references() == before


def test_every_command_and_option_is_in_the_reference() -> None:
    text = read(DOCS / "cli.md")
    for name, command in COMMAND.commands.items():
        _, _, section = text.partition(f"\n## selector {name}\n")
        section = section.partition("\n## ")[0]
        assert section, name
        for param in command.params:
            for opt in param.opts if not getattr(param, "hidden", False) else ():
                assert (
                    f"`{opt if opt.startswith('-') else param.metavar or opt.upper()}`" in section
                )


def test_every_exit_code_is_in_the_reference() -> None:
    from selector.cli import exits

    codes = {value for name, value in vars(exits).items() if name.startswith("EXIT_")}
    assert EXIT_OK in codes
    table = read(DOCS / "cli.md").partition("## Exit codes")[2].partition("\n## ")[0]
    assert codes == set(
        map(int, re.findall(r"\d+", "".join(re.findall(r"^\| `\S+`", table, re.M))))
    )


def test_markup_in_a_help_text_is_text(generator: ModuleType) -> None:
    from reference.markdown import escaped, table  # type: ignore[import-not-found]

    assert escaped("DIR/*.jpg of save_to_disk: `a_*`, <b>|") == (
        "DIR/\\*.jpg of save_to_disk: `a_*`, \\<b>\\|"
    )
    assert table(("a", "b"), [("1", "")]) == "| a |\n| --- |\n| 1 |"


# --- links, dependencies, citation ---------------------------------------------------------------


@cache
def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    text = FENCE.sub("", read(page))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(FENCE.sub("", read(page))):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor[1:] in anchors(target), f"{path}{anchor}"


def test_the_index_has_every_page() -> None:
    linked = {path for path, _ in LINK.findall(read(DOCS / "README.md"))}
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= linked


def test_every_dependency_is_justified() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split(r"[<>=\[]", one)[0]
        for one in (*project["dependencies"], *(one for extra in extras.values() for one in extra))
    }
    lines = read(ROOT / "CONTRIBUTING.md").partition("## Dependencies")[2].partition("\n## ")[0]
    named = re.findall(r"^- `([\w-]+)`: \w.{10,}", lines, re.MULTILINE)
    assert sorted(named) == sorted(wanted)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["type"] == "software"
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    (paper,) = [one for one in citation["references"] if one["type"] == "conference-paper"]
    assert "Transfer of Adversarial Robustness" in paper["title"]
    assert {"type", "title", "authors", "year"} <= set(paper)


@pytest.mark.parametrize("page", (*PAGES, ROOT / "CITATION.cff"), ids=name_of)
def test_no_path_of_a_machine(page: Path) -> None:
    text = read(page)
    for place in (str(ROOT), str(Path.home()), f"{gettempdir()}/", "site-packages"):
        assert place not in text, place


def test_the_layout_names_every_module() -> None:
    text = read(ROOT / "CONTRIBUTING.md").partition("## Layout")[2].partition("```\n")[2]
    words = set(text.partition("```")[0].split())
    package = ROOT / "selector"
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert not (modules | folders) - words
    named = {word for word in words if word.endswith("/")}
    assert all((package / word).is_dir() for word in named)
