"""The shape of the code: who imports whom, how long a module is, what has a docstring."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import selector

PACKAGE = Path(selector.__file__).parent
LONGEST = 280

# The arithmetic sees tensors and callables only: no names, paths, network or printing.
PURE = (
    "threat",
    "attacks",
    "sensitivity",
    "search",
    "pairs",
    "controls",
    "heads",
    "choosing",
    "objective",
    "bounds",
    "rows",
    "baselines",
    "discriminants",
    "smoothing",
    "regression.bounds",
    "regression.heads",
    "regression.pool",
)
OUTSIDE = {"timm", "huggingface_hub", "httpx2", "datasets", "yaml", "rich", "typer", "safetensors"}

# The only modules that may import a library; packages stand for what is in them.
OWNERS = {
    "safetensors": {
        "selector.backbones",
        "selector.checkpoints",
        "selector.demo",
        "selector.store",
    },
    "pickle": {"selector.checkpoints"},
    "timm": {"selector.architectures", "selector.backbones", "selector.demo", "selector.doctor"},
    "huggingface_hub": {"selector.hub"},
    "httpx2": {"selector.hub"},
    "datasets": {"selector.hub", "selector.tasks"},
    "yaml": {"selector.candidates", "selector.reports.card"},
    "sklearn": {"selector.baselines"},
    "PIL": {"selector.tasks", "selector.demo"},
    "plotly": {"selector.reports.html"},
    "jinja2": {"selector.reports.html"},
    "sqlite3": {"selector.store"},
    "typer": {"selector.cli", "selector.shell"},
    "pandas": {"selector.reports.frame"},
    "ray": {"selector.cluster"},
    "rich": {
        "selector.api",
        "selector.cli",
        "selector.session",
        "selector.certification",
        "selector.regression.session",
        "selector.reports",
    },
}

# What a command that only reads documents may not wait for.
SLOW = {"torch", "timm", "huggingface_hub", "torchvision", "datasets"}

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The module in a file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in FILES}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def for_types_only(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def import_nodes(node: ast.AST, *, inside_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that happen when a module is imported, or also those in its functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif for_types_only(child):
            continue
        elif inside_functions or not isinstance(child, ast.FunctionDef):
            yield from import_nodes(child, inside_functions=inside_functions)


@cache
def imported(module: str, *, inside_functions: bool = True) -> frozenset[str]:
    """The modules that a module imports: selector's own by full name, others as written."""
    found: set[str] = set()
    for node in import_nodes(tree(module), inside_functions=inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        assert node.level == 0, f"{module} imports relatively"
        assert node.module is not None
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            found.add(full if full in MODULES else node.module)
    return frozenset(found)


@cache
def own(module: str, *, inside_functions: bool = True) -> frozenset[str]:
    """The modules of selector that a module imports."""
    return imported(module, inside_functions=inside_functions) & MODULES.keys()


def reachable(module: str) -> set[str]:
    """Everything that is imported with a module, itself included."""
    found, waiting = {module}, [module]
    while waiting:
        for other in own(waiting.pop(), inside_functions=False) - found:
            found.add(other)
            waiting.append(other)
    return found


def within(module: str, packages: set[str]) -> bool:
    return any(module == p or module.startswith(f"{p}.") for p in packages)


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after some code."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


# --- what is imported ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import selector.records, selector.ranking, selector.reports.table",
        "import selector.reports.document, selector.reports.explain, selector.reports.progress",
        "import selector.reports.regression, selector.regression.ranking",
        "import selector.reports.delimited, selector.reports.markdown, selector.reports.stream",
        "import selector, selector.reports.frame; dir(selector); selector.read_ranking",
        "import selector.reports.html.page",
        "from selector.cli import app; app(['--help'], standalone_mode=False)",
        "from selector.cli import app; app(['rank', '--help'], standalone_mode=False)",
        "from selector.cli import app; app(['certify', '--help'], standalone_mode=False)",
        "from selector.cli import app; app(['discover', '--help'], standalone_mode=False)",
        "from selector.cli import app; app(['doctor', '--help'], standalone_mode=False)",
        "from selector.cli import app; app(['--version'], standalone_mode=False)",
        "from selector.cli import app; app(['schema'], standalone_mode=False)",
        "import selector.store.upkeep, selector.store.repair",
    ],
    ids=[
        "records",
        "reports",
        "regression",
        "formats",
        "interface",
        "html",
        "--help",
        "rank --help",
        "certify --help",
        "discover --help",
        "doctor --help",
        "--version",
        "schema",
        "store",
    ],
)
def test_what_reads_documents_does_not_wait_for_torch(code: str) -> None:
    found = modules_after(code)
    assert "selector" in found
    assert not found & SLOW


def test_folders_do_not_wait_for_what_reads_tables() -> None:
    assert not modules_after("import selector.tasks") & {"datasets", "pandas", "huggingface_hub"}


def test_the_check_for_torch_can_fail() -> None:
    assert "torch" in modules_after("import selector.intervals")


@pytest.mark.parametrize("name", PURE)
def test_the_arithmetic_knows_nothing_of_the_world(name: str) -> None:
    for module in reachable(f"selector.{name}"):
        libraries = {other.partition(".")[0] for other in imported(module)}
        assert not libraries & OUTSIDE, module
        assert not libraries & {"pathlib", "os", "sys", "json", "logging"}, module


@pytest.mark.parametrize("library", OWNERS)
def test_libraries_have_owners(library: str) -> None:
    users = {m for m in MODULES if library in {i.partition(".")[0] for i in imported(m)}}
    assert users, f"nothing imports {library}: take it off the list"
    assert not {user for user in users if not within(user, OWNERS[library])}


def test_imports_form_no_circle() -> None:
    # Imports inside functions count: they hide a circle, they do not undo it.
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in sorted(own(module)):
                # A package and what it is made of are one.
                if not (within(module, {other}) or within(other, {module})):
                    visit(other, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())
    assert done == set(MODULES)


@pytest.mark.parametrize(
    ("module", "importers"),
    [
        ("selector.cli", {"selector.cli", "selector.__main__"}),
        (
            "selector.session",
            {
                "selector.cli",
                "selector.api",
                "selector.certification",
                "selector.regression.session",
            },
        ),
        (
            "selector.request",
            {"selector.session", "selector.cli", "selector.api", "selector.regression.session"},
        ),
        ("selector.certification", {"selector.cli"}),
        ("selector.certifying", {"selector.session", "selector.certification"}),
        ("selector.smoothing", {"selector.certifying"}),
        (
            "selector.regression",
            {
                "selector.api",
                "selector.cli",
                "selector.comparing",
                "selector.regression",
                "selector.reports",
            },
        ),
        (
            "selector.scheduling",
            {
                "selector.session",
                "selector.request",
                "selector.certification",
                "selector.regression.session",
                "selector.contest",
                "selector.planning",
                "selector.engines",
            },
        ),
        ("selector.engines", {"selector.cli", "selector.api"}),
        ("selector.cluster", {"selector.cluster", "selector.engines"}),
        ("selector.contest", {"selector.session"}),
        ("selector.entrants", {"selector.contest"}),
        ("selector.raceplan", {"selector.session"}),
        (
            "selector.screening",
            {"selector.keys", "selector.contest", "selector.entrants", "selector.raceplan"},
        ),
        ("selector.verdict", {"selector.contest", "selector.entrants"}),
        (
            "selector.racing",
            {
                "selector.contest",
                "selector.entrants",
                "selector.raceplan",
                "selector.verdict",
                "selector.request",
                "selector.cli",
                "selector.api",
                "selector.arguments",
            },
        ),
        ("selector.api", {"selector.api"}),
        ("selector.blocks", set()),
        ("selector.arguments", {"selector.api", "selector.blocks"}),
        (
            "selector.modules",
            {
                "selector.api",
                "selector.blocks",
                "selector.fetching",
                "selector.planning",
                "selector.cluster",
            },
        ),
        ("selector.origin", {"selector.modules", "selector.fetching"}),
        (
            "selector.fetching",
            {
                "selector.scheduling",
                "selector.session",
                "selector.certification",
                "selector.certifying",
                "selector.regression.session",
                "selector.contest",
                "selector.entrants",
                "selector.planning",
                "selector.reports",
                "selector.cli",
                "selector.cluster",
                "selector.request",
            },
        ),
        ("selector.planning", {"selector.session"}),
        (
            "selector.evaluation",
            {
                "selector.scheduling",
                "selector.sweeping",
                "selector.contest",
                "selector.describing",
            },
        ),
        (
            "selector.attacking",
            {
                "selector.evaluation",
                "selector.fitting",
                "selector.screening",
                "selector.regression",
            },
        ),
        (
            "selector.describing",
            {"selector.session", "selector.certification", "selector.regression.session"},
        ),
        ("selector.fitting", {"selector.evaluation", "selector.screening"}),
        ("selector.sweeping", {"selector.scheduling", "selector.curves"}),
        ("selector.curves", {"selector.session"}),
        (
            "selector.run",
            {
                "selector.sweeping",
                "selector.attacking",
                "selector.evaluation",
                "selector.fitting",
                "selector.certifying",
                "selector.regression",
                "selector.screening",
                "selector.keys",
                "selector.measuring",
                "selector.entrants",
                "selector.planning",
                "selector.fetching",
                "selector.modules",
                "selector.cluster",
            },
        ),
        ("selector.memo", {"selector.run", "selector.measuring"}),
        (
            "selector.measuring",
            {
                "selector.scheduling",
                "selector.certifying",
                "selector.contest",
                "selector.regression.session",
                "selector.cluster",
            },
        ),
        (
            "selector.keys",
            {"selector.measuring", "selector.certifying", "selector.contest"},
        ),
        ("selector.pairs", {"selector.attacking", "selector.shapes", "selector.workload"}),
        ("selector.advice", {"selector.session"}),
        (
            "selector.objectives",
            {
                "selector.advice",
                "selector.api",
                "selector.cli",
                "selector.comparing",
                "selector.ranking",
                "selector.session",
                "selector.reports",
            },
        ),
        ("selector.locking", {"selector.cli"}),
        (
            "selector.hub",
            {
                "selector.hub",
                "selector.fetching",
                "selector.planning",
                "selector.locking",
                "selector.discovery",
                "selector.doctor",
                "selector.tasks",
                "selector.cli.card",
                "selector.cluster",
            },
        ),
        ("selector.checkpoints", {"selector.backbones", "selector.checkpoints"}),
        ("selector.doctor", {"selector.cli", "selector.doctor"}),
        ("selector.discovery", {"selector.cli", "selector.reports", "selector.discovery"}),
        (
            "selector.store",
            {
                "selector.cli",
                "selector.store",
                "selector.keys",
                "selector.memo",
                "selector.measuring",
                "selector.scheduling",
                "selector.request",
                "selector.certification",
                "selector.certifying",
                "selector.contest",
                "selector.planning",
                "selector.doctor",
                "selector.cluster",
            },
        ),
        (
            "selector.reports",
            {
                "selector.cli",
                "selector.session",
                "selector.regression.session",
                "selector.reports",
            },
        ),
    ],
)
def test_imports_point_downwards(module: str, importers: set[str]) -> None:
    found = {m for m in MODULES if any(within(other, {module}) for other in own(m))}
    assert not {m for m in found if not within(m, importers)}


def test_records_rest_on_words_alone() -> None:
    assert reachable("selector.records") <= {
        "selector",
        "selector.candidates",
        "selector.candidates.entry",
        "selector.candidates.lock",
        "selector.candidates.registry",
        "selector.candidates.yamlfile",
        "selector.candidates.writing",
        "selector.errors",
        "selector.norms",
        "selector.reading",
        "selector.records",
        "selector.records.certified",
        "selector.records.comparison",
        "selector.records.document",
        "selector.records.gate",
        "selector.records.measured",
        "selector.records.base",
        "selector.records.run",
        "selector.records.outcome",
        "selector.records.heads",
        "selector.records.plan",
        "selector.records.regression",
    }


# --- how it is written ---------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_long(module: str) -> None:
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{module} has {lines} lines: make it a package"


def undocumented(node: ast.AST, prefix: str) -> Iterator[str]:
    """Public functions, classes and methods below a node that have no docstring."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if child.name.startswith("_"):
            continue
        if ast.get_docstring(child) is None:
            yield f"{prefix}.{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from undocumented(child, f"{prefix}.{child.name}")


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_has_a_docstring(module: str) -> None:
    assert list(undocumented(tree(module), module)) == []
    if MODULES[module].read_text(encoding="utf-8").strip():
        assert ast.get_docstring(tree(module)), f"{module} has no docstring"


def test_every_module_is_seen() -> None:
    assert {"selector", "selector.cli", "selector.hub.client", "selector.tasks"} <= set(MODULES)
