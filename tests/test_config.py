"""Options that are typed, of the environment and of a file: which counts, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from builders import evaluation, made, ranking, right
from typer.testing import CliRunner

from selector import configuration
from selector.cli import app
from selector.cli.configured import (
    PREFIX,
    TYPED_ONLY,
    ConfigurableCommand,
    ConfigurableGroup,
    configure,
)
from selector.configuration import configured, find
from selector.errors import UsageError
from selector.records import ConfiguredOption
from selector.reports.document import to_json


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, below one that may hold a configuration."""
    folder = tmp_path / "project" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    yield folder.parent


def shown(*arguments: str) -> dict[str, dict[str, dict[str, object]]]:
    """What `selector config --json` says of the options of each command."""
    result = CliRunner().invoke(app, [*arguments, "config", "--json"])
    assert result.exit_code == 0, result.stderr
    commands: dict[str, dict[str, dict[str, object]]] = json.loads(result.stdout)["commands"]
    return commands


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments or ["schema"])
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.stderr.split())


# --- precedence ----------------------------------------------------------------------------------


def test_without_anything_all_are_defaults(project: Path) -> None:
    rank = shown()["rank"]
    assert rank["preset"] == {"value": "standard", "origin": "default", "where": None} | {
        "variable": "SELECT_RANK_PRESET"
    }
    assert rank["seed"]["value"] == 0
    assert rank["eps"]["value"] is None
    assert rank["model"]["value"] == []
    assert {one["origin"] for options in shown().values() for one in options.values()} == {
        "default"
    }


def test_the_environment_is_before_the_file_and_the_file_before_defaults(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "pyproject.toml"
    file.write_text(
        "[tool.selector.rank]\neps = 0.5\ntest-images = 64\n"
        'tag = ["small", "vit"]\noffline = true\n'
    )
    monkeypatch.setenv("SELECT_RANK_TEST_IMAGES", "32")
    monkeypatch.setenv("SELECT_CERTIFY_TAG", "robust base")
    monkeypatch.setenv("SELECT_RANK_FRESH", "1")
    found = shown()
    table = f"{file} [tool.selector.rank]"
    assert found["rank"]["eps"] == {"value": "0.5", "origin": "file", "where": table} | {
        "variable": "SELECT_RANK_EPS"
    }
    assert found["rank"]["tag"] == {"value": ["small", "vit"], "origin": "file", "where": table} | {
        "variable": "SELECT_RANK_TAG"
    }
    assert found["rank"]["offline"] == {"value": True, "origin": "file", "where": table} | {
        "variable": "SELECT_RANK_OFFLINE"
    }
    assert found["rank"]["test-images"] == {
        "value": 32,
        "origin": "environment",
        "where": "SELECT_RANK_TEST_IMAGES",
        "variable": "SELECT_RANK_TEST_IMAGES",
    }
    assert found["rank"]["fresh"]["value"] is True
    assert found["certify"]["tag"]["value"] == ["robust", "base"]
    assert found["certify"]["test-images"]["origin"] == "default"


def test_what_is_typed_is_before_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = project / "ranking.json"
    document.write_text(to_json(ranking([evaluation("a", right(70))])))
    (project / "selector.toml").write_text("[gate]\nmin-attacked-accuracy = 0.9\nformat = 'json'\n")
    run = CliRunner().invoke
    by_file = run(app, ["gate", str(document)])
    assert by_file.exit_code == 4
    assert json.loads(by_file.stdout)["checks"][0]["required"] == "at least 0.9"
    monkeypatch.setenv("SELECT_GATE_MIN_ATTACKED_ACCURACY", "0.8")
    by_environment = run(app, ["gate", str(document)])
    assert json.loads(by_environment.stdout)["checks"][0]["required"] == "at least 0.8"
    typed = run(app, ["gate", str(document), "--min-attacked-accuracy", "0.7", "--format", "text"])
    assert typed.exit_code == 0
    assert typed.stdout.startswith("holds min_attacked_accuracy of a: required at least 0.7")


# --- which file ----------------------------------------------------------------------------------


def test_the_nearest_file_counts_and_selector_toml_first(project: Path) -> None:
    here = project / "notebooks"
    assert find(here) is None
    (project / "pyproject.toml").write_text("[tool.selector]\n")
    assert find(here) == project / "pyproject.toml"
    (project / "selector.toml").write_text("")
    assert find(here) == project / "selector.toml"
    (here / "pyproject.toml").write_text("[tool.selector.rank]\nseed = 1\n")
    assert find(here) == here / "pyproject.toml"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[tool.ruff]\nline-length = 100\n",
        '[project]\nname = "selector"\n',
        'tool = "selector"\n',
        "this is no TOML",
    ],
)
def test_a_pyproject_of_other_tools_is_passed_over(project: Path, text: str) -> None:
    (project / "selector.toml").write_text("[rank]\nseed = 4\n")
    (project / "notebooks" / "pyproject.toml").write_text(text)
    assert find(project / "notebooks") == project / "selector.toml"
    assert shown()["rank"]["seed"]["value"] == 4


def test_a_file_can_be_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "selector.toml").write_text("[rank]\nseed = 4\n")
    other = project / "other.toml"
    other.write_text("[rank]\nseed = 5\n")
    assert shown()["rank"]["seed"]["value"] == 4
    assert shown("--config", str(other))["rank"]["seed"]["value"] == 5
    monkeypatch.setenv("SELECT_CONFIG", str(other))
    assert shown()["rank"]["seed"]["value"] == 5


def test_keys_have_dashes_or_underscores(project: Path) -> None:
    (project / "selector.toml").write_text(
        "[gate]\nmin_attacked_accuracy = 0.5\nmax-params = '1K'\n"
    )
    found = shown()["gate"]
    assert found["min-attacked-accuracy"]["value"] == 0.5
    assert found["max-params"]["value"] == "1K"


def test_a_file_of_any_name_may_have_the_form_of_a_pyproject(project: Path) -> None:
    file = project / "p.toml"
    file.write_text("[project]\nname = 'p'\n[tool.selector.gate]\nmax-skipped = 1\n")
    found = shown("--config", str(file))["gate"]["max-skipped"]
    assert (found["value"], found["where"]) == (1, f"{file} [tool.selector.gate]")
    file.write_text("[tool.ruff]\n")
    assert "must have a table [tool.selector]" in refused("--config", str(file), "schema")
    file.write_text("[gate]\nmax-skipped = 1\n[tool.selector.gate]\nmax-skipped = 2\n")
    assert "[tool]: unknown command" in refused("--config", str(file), "schema")


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rank]\ntest_imags = 3\n", "[rank] test_imags: unknown option; did you mean test-im"),
        ("[rank]\ntest-images = 3\ntest_images = 4\n", "[rank] test_images is given already"),
        ("[rank]\nzzz = 3\n", "[rank] zzz: unknown option; known are task, "),
        ("[rnk]\n", "[rnk]: unknown command; did you mean rank."),
        ("seed = 3\n", "[seed]: unknown command; known are rank, "),
        ("rank = 3\n", "[rank] must be a table, found 3."),
        ("[rank]\noffline = 'yes'\n", "[rank] offline must be true or false, found 'yes'."),
        ("[rank]\ntag = 'small'\n", "[rank] tag must be a list of texts or numbers, found 'small'"),
        ("[rank]\ntag = [true]\n", "[rank] tag must be a list of texts or numbers, found [True]."),
        ("[rank]\nseed = [1]\n", "[rank] seed must be a text or a number, found [1]."),
        ("[rank]\nseed = true\n", "[rank] seed must be a text or a number, found True."),
        ("[rank]\nseed = 'x'\n", "[rank] seed: Input should be a valid integer"),
        ("[rank]\nseed = 1.5\n", "[rank] seed: "),
        ("[rank]\nseed = -1\n", "[rank] seed: "),
        ("[rank]\npreset = 'quik'\n", "[rank] preset: 'quik' is not one of 'screen', "),
        ("[discover]\nsince = 2026-01-01\n", "[discover] since must be a text or a number"),
        ("[explain]\nmodel = 'a'\n", "[explain] model: unknown option; there is none."),
        ("[rank\n", "selector.toml is not TOML: "),
    ],
)
def test_mistakes_in_a_file_are_named_with_file_and_key(
    project: Path, text: str, said: str
) -> None:
    (project / "selector.toml").write_text(text)
    message = refused()
    assert said in message
    assert str(project / "selector.toml") in message


def test_mistakes_in_a_pyproject_name_its_table(project: Path) -> None:
    file = project / "pyproject.toml"
    file.write_text("[tool.selector.rank]\nsteps = 'many'\n")
    assert f"{file} [tool.selector.rank] steps: " in refused()
    file.write_text("[tool]\nselector = 3\n")
    assert f"{file}: tool.selector must be a table, found 3." in refused()
    file.write_text("# selector\n[tool")
    assert f"{file} is not TOML: " in refused()


def test_a_named_file_must_be_one(project: Path) -> None:
    assert "cannot be read" in refused("--config", "nowhere.toml", "schema")
    other = project / "pyproject.toml"
    other.write_text("[tool.ruff]\n")
    assert "must have a table [tool.selector]" in refused("--config", str(other), "schema")


def test_a_wrong_value_is_not_blamed_on_who_typed_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "selector.toml"
    file.write_text("[gate]\nmax-params = 'lots'\n")
    document = project / "ranking.json"
    document.write_text(to_json(ranking([evaluation("a", right(70))])))
    assert refused("gate", str(document)).endswith(
        f"--max-params: must be a number such as 100M, found 'lots'. It is from {file} [gate]."
    )
    assert "It is from" not in refused("gate", str(document), "--max-params", "many")
    monkeypatch.setenv("SELECT_GATE_MAX_PARAMS", "x")
    assert "It is from SELECT_GATE_MAX_PARAMS." in refused("gate", str(document))
    # What cannot be read as a number is refused before the command begins.
    monkeypatch.setenv("SELECT_GATE_MAX_SKIPPED", "few")
    message = " ".join(refused("gate", str(document)).replace("│", " ").split())
    assert "Invalid value for '--max-skipped'" in message
    assert "an integer. It is from SELECT_GATE_MAX_SKIPPED." in message
    typed = refused("gate", str(document), "--max-skipped", "many")
    assert "It is from" not in typed


def test_a_wrong_eps_of_the_environment_is_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECT_RANK_EPS", "x")
    message = refused("rank")
    assert "--eps must be a number or a fraction such as 4/255, found 'x'." in message
    assert message.endswith("It is from SELECT_RANK_EPS.")


def test_a_file_of_control_characters_stays_text(project: Path) -> None:
    (project / "selector.toml").write_text('[rank]\n"\\u001b[31m" = 1\n')
    assert "\x1b" not in refused()


# --- how it is told ------------------------------------------------------------------------------


def test_the_table_names_option_value_and_origin(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "selector.toml").write_text('[rank]\neps = "2/255"\n')
    monkeypatch.setenv("SELECT_RANK_TAG", "small vit")
    result = CliRunner().invoke(app, ["config", "rank"])
    assert result.exit_code == 0
    assert result.stdout.startswith("file: ")
    assert max(map(len, result.stdout.splitlines())) <= 100
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:4]]
        for cells in (line.split("│") for line in result.stdout.splitlines())
        if len(cells) > 3
    }
    assert rows["rank --tag"] == ["small vit", "SELECT_RANK_TAG"]
    assert rows["rank --norm"] == ["linf", "default"]
    assert rows["rank --model"] == ["–", "default"]
    assert rows["rank --eps"][0] == "2/255"
    assert not any(option.startswith("certify") for option in rows)


def test_every_option_of_every_command_is_shown(project: Path) -> None:
    found = shown()
    assert {"rank", "explain", "gate", "compare", "config", "shell-init"} <= set(found)
    assert found["explain"] == {}
    assert {"output", "target-column", "max-params"} <= set(found["rank"])


def test_a_variable_that_sets_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECT_RANK_EPSS", "1")
    monkeypatch.setenv("SELECT_RNK_EPS", "1")
    monkeypatch.setenv("SELECT_SHELL_INIT_HELP", "")
    monkeypatch.setenv("SELECT_RANK_EPS", "1")
    result = CliRunner().invoke(app, ["config", "rank"])
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "SELECT_RANK_EPSS is set, but is no option of selector; did you mean SELECT_RANK_EPS?",
        "SELECT_RNK_EPS is set, but is no option of selector; did you mean SELECT_RANK_EPS?",
        "SELECT_SHELL_INIT_HELP is set, but is no option of selector.",
    ]


def test_any_command_tells_it_beside_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECT_RANK_EPPS", "1")
    result = CliRunner().invoke(app, ["schema", "lock"])
    assert json.loads(result.stdout)["title"]
    assert result.stderr == (
        "SELECT_RANK_EPPS is set, but is no option of selector; did you mean SELECT_RANK_EPS?\n"
    )


# --- what only counts if typed -------------------------------------------------------------------


def test_all_that_only_counts_if_typed_is_an_option() -> None:
    assert TYPED_ONLY.keys() <= {key for options in shown().values() for key in options}


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("card", "push"),
        ("card", "create-pr"),
        ("rank", "allow-pickle"),
        ("certify", "allow-pickle"),
    ],
)
def test_neither_file_nor_environment_switch_it_on(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: str, key: str
) -> None:
    file = project / "selector.toml"
    file.write_text(f"[{command}]\n{key} = true\n")
    message = refused()
    assert f"{file} [{command}] {key}: counts only if typed, as it " in message
    assert f"type --{key} where it is meant" in message
    file.unlink()
    variable = f"SELECT_{command}_{key.replace('-', '_')}".upper()
    monkeypatch.setenv(variable, "1")
    result = CliRunner().invoke(app, ["config", command, "--json"])
    assert f"{variable} is ignored: --{key} counts only if typed, as it " in result.stderr
    found = json.loads(result.stdout)["commands"][command][key]
    assert found == {"value": False, "origin": "default", "where": None, "variable": None}
    table = CliRunner().invoke(app, ["config", command]).stdout
    (row,) = (line for line in table.splitlines() if f"{command} --{key} " in line)
    assert "default, command line only" in row


def test_an_unknown_command_is_refused(project: Path) -> None:
    assert "COMMAND must be one of selector's, found 'rnk'." in refused("config", "rnk")


def test_help_says_what_comes_before_what_and_does_not_repeat_variables(project: Path) -> None:
    explained = CliRunner().invoke(app, ["config", "--help"]).stdout
    order = [
        explained.index(word)
        for word in ("the command line:", "the environment:", "a file:", "the default")
    ]
    assert order == sorted(order)
    assert "[tool.selector.rank]" in explained
    assert "SELECTOR_CACHE" in explained
    assert "SELECT_GATE" not in CliRunner().invoke(app, ["gate", "--help"]).stdout


def test_help_is_given_whatever_a_file_says(project: Path) -> None:
    (project / "selector.toml").write_text("[rank]\neps = 3\nepz = 1\n")
    assert "epz" in refused("rank")
    for arguments in (["--help"], ["rank", "--help"], ["rank", "--top", "3", "-h"]):
        helped = CliRunner().invoke(app, arguments)
        assert (helped.exit_code, helped.stderr) == (0, "")
        assert "Usage:" in helped.stdout


def test_a_variable_does_not_print_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECT_VERSION", "1")
    assert CliRunner().invoke(app, ["schema", "lock"]).stdout.startswith("{")


# --- documents -----------------------------------------------------------------------------------


def test_documents_say_which_options_were_not_typed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "selector.toml").write_text('[measure]\neps = "2/255"\ntag = ["a", "b"]\nseed = 1\n')
    monkeypatch.setenv("SELECT_MEASURE_FRESH", "1")
    seen = []
    program = typer.Typer(cls=ConfigurableGroup, context_settings={"auto_envvar_prefix": PREFIX})

    @program.callback()
    def _common(ctx: typer.Context) -> None:
        configure(ctx, None)

    @program.command(cls=ConfigurableCommand)
    def measure(
        eps: str = "4/255", tag: list[str] | None = None, seed: int = 0, fresh: bool = False
    ) -> None:
        seen.append((eps, tag, seed, fresh, configured()))

    result = CliRunner().invoke(program, ["measure", "--seed", "2"])
    assert result.exit_code == 0, result.output
    ((*values, options),) = seen
    assert values == ["2/255", ["a", "b"], 2, True]
    table = f"{project / 'selector.toml'} [measure]"
    assert [(one.option, one.value, one.origin) for one in options] == [
        ("--eps", "2/255", table),
        ("--tag", "a b", table),
        ("--fresh", "true", "SELECT_MEASURE_FRESH"),
    ]
    assert configured() == ()


def test_rank_and_certify_record_them() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert isinstance(commands["rank"], ConfigurableCommand)
    assert isinstance(commands["certify"], ConfigurableCommand)
    assert made().configured == ()
    with pytest.raises(ValueError, match="origin"):
        ConfiguredOption.model_validate({"option": "--eps", "value": "1"})


def test_a_file_that_is_no_text_is_told(project: Path) -> None:
    (project / "selector.toml").write_bytes(b"\xff")
    assert "selector.toml cannot be read" in refused()


@pytest.mark.parametrize("text", ["a = 2026-13-45", "a = " + "[" * 5000])
def test_what_the_reader_of_toml_stumbles_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "selector.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not TOML"):
        configuration.read(path, {})


@pytest.mark.parametrize("command", ["rank", "certify"])
@pytest.mark.parametrize(("key", "value"), [("store", "evil"), ("engine", "ray://10.0.0.7:10001")])
def test_a_file_that_was_found_does_not_say_whom_to_believe(
    project: Path, command: str, key: str, value: str
) -> None:
    file = project / "selector.toml"
    file.write_text(f'[{command}]\n{key} = "{value}"\n')
    message = refused()
    assert f"[{command}] {key}: does not count in a file that was found, as " in message
    assert f"Type --{key}, or name the file: selector --config FILE" in message
    found = shown("--config", str(file))[command][key]
    assert (found["value"], found["origin"]) == (value, "file")
