"""What people and programs are shown: the document, its file, the table and the progress."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import evaluation, ranking, right, skipped
from rich.cells import cell_len
from rich.console import Console

from selector.errors import OutputError, UsageError
from selector.events import Finished, Looked, Passed, Recalled, Started
from selector.records import Evaluation, Ranking
from selector.reports import document
from selector.reports.progress import Display
from selector.reports.table import print_table

HOSTILE = [
    "[red]x[/red]",
    "[/]",
    "[bold",
    "back\\slash\\",
    "\\[red]",
    ":skull:",
    "a b  c",
    "{name} %s",
    "模型-ü",
]
CONTROL = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "a\rb",
    "a\nb",
    "a\tb",
    "\x9b31m",
    "a\u202eb",
]


def shown(of: Ranking, width: int = 100, **options: bool | str) -> str:
    """The table as printed on a console without colours."""
    console = Console(file=io.StringIO(), width=width, **options)  # type: ignore[arg-type]
    print_table(of, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def flat(text: str) -> str:
    """Without what wrapping has put in."""
    return " ".join(text.split())


def widest(text: str) -> int:
    return max(cell_len(line) for line in text.splitlines())


@pytest.fixture
def umask() -> Iterator[int]:
    """An unusual umask."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


# --- the document --------------------------------------------------------------------------------


def test_the_document_can_be_read_again() -> None:
    before = ranking([evaluation("ä", right(60)), evaluation("b", vacuous=True)], [skipped()])
    text = document.to_json(before)
    assert text.endswith("}\n")
    assert Ranking.model_validate_json(text) == before
    assert json.loads(text)["schema_version"] == "1.0"
    assert document.to_json(Ranking.model_validate_json(text)) == text


def test_the_document_is_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(document.to_json(ranking([evaluation()])), parse_constant=refuse)
    assert found["ranking"][0]["name"] == "a"


def test_an_empty_ranking_is_a_document_too() -> None:
    found = json.loads(document.to_json(ranking([], [skipped("acme/broken")])))
    assert (found["choice"], found["ranking"]) == (None, [])
    assert [entry["name"] for entry in found["skipped"]] == ["acme/broken"]


# --- its file ------------------------------------------------------------------------------------


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    document.write_atomically(path, "first ä\n")
    document.write_atomically(path, "second\n")
    assert path.read_bytes() == b"second\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    killed = "from selector.reports import document; import os, pathlib, signal, sys\n"
    killed += "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
    killed += "document.write_atomically(pathlib.Path(sys.argv[1]), 'half')\n"
    path = tmp_path / "out[1].json"
    done = subprocess.run([sys.executable, "-c", killed, str(path)])
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    others = [tmp_path / name for name in (".out[1].json.mine", ".out1.json.12345678.partial")]
    for one in others:
        one.write_text("somebody else's")
    with left.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        document.write_atomically(path, "beside a writer that lives\n")
        assert left.exists()
    document.write_atomically(path, "whole\n")
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])
    assert path.read_text() == "whole\n"


def test_text_is_utf_8_in_any_locale(tmp_path: Path) -> None:
    document.write_atomically(tmp_path / "out.json", "ä∘\n")
    assert (tmp_path / "out.json").read_bytes() == "ä∘\n".encode()


@pytest.mark.parametrize("failing", ["os.fsync", "os.fdopen", "pathlib.Path.replace"])
@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: BaseException
) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(failing, fail)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        document.write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        document.write_atomically(path, "half of it \udce9")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    document.write_atomically(tmp_path / "out.json", "text")
    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == 0o666 & ~umask
    assert os.umask(umask) == umask


def test_a_writable_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document.check_writable(tmp_path / "new.json")
    (tmp_path / "old.json").write_text("old")
    document.check_writable(tmp_path / "old.json")
    monkeypatch.chdir(tmp_path)
    document.check_writable(Path("here.json"))
    assert (tmp_path / "old.json").read_text() == "old"
    assert not (tmp_path / "new.json").exists()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--output must name a file"):
        document.check_writable(tmp_path)


def test_a_dash_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("stale")
    with pytest.raises(UsageError, match="--output must name a file, found -"):
        document.check_writable(Path("-"))
    with pytest.raises(UsageError, match="must be a file, found -") as caught:
        document.read_any_ranking("-")
    assert "/dev/stdin" in caught.value.hint


def test_a_place_in_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for parent in ("none", "file"):
        with pytest.raises(UsageError, match="--output must lie in a folder") as caught:
            document.check_writable(tmp_path / parent / "out.json")
        assert str(tmp_path / parent) in caught.value.message
        assert "tmp/tmp" not in caught.value.message and "Errno" not in caught.value.message
        assert "Create the folder" in caught.value.hint


def test_a_place_that_must_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Permissions do not stop root, who may run the tests.
    def refuse(**options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UsageError, match="--output must lie in a folder that can be written"):
        document.check_writable(tmp_path / "out.json")


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    # As root in a container, `-o /dev/null` would leave a regular file there.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="--output"):
        document.check_writable(pipe)


# --- the table -----------------------------------------------------------------------------------


def test_the_table_shows_every_candidate_in_order() -> None:
    text = shown(
        ranking([evaluation(n, right(k)) for n, k in zip(("one", "two"), (30, 70), strict=True)])
    )
    rows = [line for line in text.splitlines() if " 70.0 " in line or " 30.0 " in line]
    assert ["two" in rows[0], "one" in rows[1]] == [True, True]
    assert "(60-80)" in rows[0]
    assert len(rows) == 2


def test_the_table_says_what_was_measured() -> None:
    text = flat(shown(ranking([evaluation()])))
    for words in (
        "plates: 3 classes, 100 test images of 224 px, heads fitted on 500",
        "threat linf 4/255",
        "standard: apgd 5 x 20 steps on cpu, seed 0",
        "Ranked by attacked accuracy of the head, class pairs included.",
        "after every attack on the recommended head, an upper estimate",
        "an estimate, not a certificate",
    ):
        assert words in text


def test_a_row_tells_of_the_head_of_its_bound_and_of_the_usual_probe() -> None:
    given = evaluation(
        "net",
        right(20),
        clean=right(90),
        clean_head=right(80),
        attacked=right(40),
        worst_case_loss=[1.5] * 100,
    )
    (row,) = [line for line in shown(ranking([given])).splitlines() if re.match("│ ?1 ", line)]
    cells = [" ".join(cell.split()) for cell in row.strip("│").split("│")]
    assert cells == ["1", "net", "40.0 (30-50)", "20.0", "80.0", "1.50", "90.0 40.0", "1"]


def test_the_table_says_what_it_is_ranked_by() -> None:
    text = flat(shown(ranking([evaluation()], objective="clean")))
    assert "Ranked by clean accuracy of the ordinary probe." in text


def test_rows_that_say_nothing_are_dim() -> None:
    def dim(*given: Evaluation) -> list[str]:
        text = shown(
            ranking(given, constant_accuracy=0.3), force_terminal=True, color_system="standard"
        )
        rows = [line for line in text.splitlines() if "(" in line and "│" in line]
        faint = " ".join(row for row in rows if "\x1b[2m" in row)
        return [one.name for one in given if one.name in faint]

    # The lower end of the interval lies ten points below: 0.31 and 0.29.
    good, bad = evaluation("good", right(41)), evaluation("bad", right(39))
    blind = evaluation("blind", right(90), flags=["masked_gradients"])
    assert dim(good, bad, blind) == ["bad", "blind"]


def test_the_table_names_vacuous_and_masked_rows() -> None:
    text = shown(
        ranking(
            [
                evaluation("sound"),
                evaluation("dull", vacuous=True),
                evaluation("blind", flags=["masked_gradients"]),
            ]
        )
    )
    (dull,) = [line for line in text.splitlines() if "dull" in line and "│" in line]
    (blind,) = [
        line
        for line in text.splitlines()
        if "blind" in line and "│" in line and "about" not in line
    ]
    (sound,) = [line for line in text.splitlines() if "sound" in line and "│" in line]
    assert "vacuous" in dull
    assert "masked" in blind
    assert "vacuous" not in sound
    assert "masked" not in sound


def test_lines_part_groups() -> None:
    def lines(*correct: int) -> int:
        text = shown(ranking([evaluation(f"c{k}", right(k)) for k in correct]))
        return sum(line.startswith("├") for line in text.splitlines())

    assert lines(90, 89, 50, 49, 10) == lines(90, 89) + 2


def test_the_sentence_is_the_last_word() -> None:
    given = ranking([evaluation("best", right(60)), evaluation("b", right(10))])
    assert given.choice is not None
    assert flat(shown(given)).endswith(given.choice.sentence)


def test_left_out_candidates_are_shown_with_the_reason() -> None:
    text = flat(
        shown(
            ranking(
                [evaluation("best")],
                [
                    skipped("acme/a", code="gated", reason="it is gated.", hint="Ask for access."),
                    skipped("acme/b", code="not_found", reason="there is none.", hint=""),
                ],
            )
        )
    )
    assert "Not ranked" in text
    assert "acme/a [gated] it is gated. Ask for access." in text
    assert "acme/b [not_found] there is none." in text
    assert "Not ranked" not in shown(ranking([evaluation()]))


def test_nothing_ranked_still_says_why() -> None:
    text = flat(shown(ranking([], [skipped("acme/a", reason="it is damaged.")])))
    assert "acme/a [keys_mismatch] it is damaged." in text
    assert "backbone" not in text


def test_warnings_are_shown_with_the_name() -> None:
    given = evaluation("best", flags=["still_rising", "at_chance"], messages=["it rose", "it is"])
    text = flat(shown(ranking([given])))
    assert "Read with care" in text
    assert "best: it rose." in text
    assert "best: it is." in text
    assert "Read with care" not in shown(ranking([evaluation()]))


@pytest.mark.parametrize("width", [100, 120, 200])
def test_long_names_and_reasons_fit_100_columns(width: int) -> None:
    long = "organisation-with-a-long-name/" + "x" * 90
    text = shown(
        ranking(
            [
                evaluation(long, right(100, 100), flags=["still_rising"], messages=["y" * 250]),
                evaluation("模型" * 40, right(0), flags=["masked_gradients"]),
            ],
            [skipped(long, reason="z" * 300)],
        ),
        width,
    )
    assert widest("\n".join(line for line in text.splitlines() if line[:1] in "┏┃┡│├└")) <= 100
    assert widest(text) <= width
    assert text.count("x") >= 90
    assert text.count("模") >= 40
    assert "…" not in text


def test_many_candidates_fit_100_columns() -> None:
    text = shown(ranking([evaluation(f"acme/net-{i}", right(i % 100 + 1)) for i in range(120)]))
    assert widest(text) <= 100
    assert "…" not in text
    for i in range(120):
        assert f"acme/net-{i} " in text


def test_a_narrow_terminal_is_not_exceeded() -> None:
    assert widest(shown(ranking([evaluation("acme/net")], [skipped()]), 80)) <= 80


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_not_markup(name: str) -> None:
    text = shown(ranking([evaluation(name, flags=["still_rising"])], [skipped(name)]))
    (row,) = [line for line in text.splitlines() if re.match("│ ?1 ", line)]
    assert row.split("│")[2].strip() == name
    assert f"  {name}: about still_rising." in text
    assert f"  {name} [keys_mismatch]" in text
    assert f"Choose {name}: " in text


@pytest.mark.parametrize("text", HOSTILE)
def test_reasons_and_messages_are_not_markup(text: str) -> None:
    given = ranking(
        [evaluation(flags=["still_rising"], messages=[text])], [skipped(reason=text, hint="")]
    )
    assert f"a: {text}.\n" in shown(given)
    assert f"[keys_mismatch] {text}\n" in shown(given)


@pytest.mark.parametrize("name", CONTROL)
def test_control_characters_do_not_reach_the_terminal(name: str) -> None:
    given = ranking(
        [evaluation(name, flags=["still_rising"])],
        [skipped(name, reason=name, hint=name)],
        name=name,
    )
    assert not [c for c in shown(given) if not c.isprintable() and c != "\n"]


def test_colours_are_for_terminals() -> None:
    assert "\x1b[" not in shown(ranking([evaluation()]))
    assert "\x1b[" in shown(ranking([evaluation()]), force_terminal=True, color_system="standard")


# --- progress ------------------------------------------------------------------------------------


def test_what_others_took_from_the_store_is_not_told_of_the_next() -> None:
    events = [
        *(Started("a"), Passed(100), Recalled(60), Looked("a", 16, 0.5)),
        *(Started("b"), Passed(100), Recalled(7), Finished(evaluation("b"), reused=False)),
    ]
    _, text = followed(events)
    assert "images forward, 7 of them from the store" in text


def followed(events: list[object], *, terminal: bool = False) -> tuple[list[object], str]:
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal)
    with Display(console, candidates=2, passes_each=100) as display:
        outcomes: list[object] = list(display.follow(events))  # type: ignore[arg-type]
        assert display.done == len(outcomes)
    return outcomes, console.file.getvalue()  # type: ignore[attr-defined]


def test_a_line_per_candidate() -> None:
    first, second = evaluation("acme/a"), skipped("acme/b", reason="it is damaged.")
    outcomes, text = followed(
        [
            Started("acme/a"),
            Passed(60),
            Passed(40),
            Finished(first, reused=False),
            Started("acme/b"),
            Finished(second, reused=False),
        ]
    )
    assert outcomes == [first, second]
    assert text.splitlines() == [
        "1/2 acme/a: measured in 10.0 s, 1000 images forward",
        "2/2 acme/b: skipped, it is damaged.",
    ]


def test_what_was_kept_is_said_to_be() -> None:
    _, text = followed([Finished(evaluation("a"), reused=True)])
    assert text == "1/2 a: kept from an earlier run\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_progress_is_not_markup(name: str) -> None:
    _, text = followed([Started(name), Finished(skipped(name, reason=name), reused=False)])
    assert text == f"1/2 {name}: skipped, {name}\n"
    # On a terminal the name is also in front of the bar.
    followed([Started(name), Finished(evaluation(name), reused=False)], terminal=True)


@pytest.mark.parametrize("name", CONTROL)
def test_progress_holds_no_control_characters(name: str) -> None:
    _, text = followed([Finished(skipped(name, reason=name), reused=False)])
    assert not [c for c in text if not c.isprintable() and c != "\n"]


def test_what_is_fetched_is_shown_beside_what_is_measured() -> None:
    from selector.fetching import Fetched, FetchStarted

    events = [FetchStarted(3_000_000), Fetched(2_000_000), Started("acme/a"), Passed(60)]
    events += [FetchStarted(5_000_000), Fetched(6_000_000)]
    _, text = followed(list(events), terminal=True)
    assert "8 of 8 MB" in text
    assert "60 of 200 images" in text
    _, log = followed(list(events))
    assert log == "", "a log has a line per candidate and nothing else"


def test_many_that_fail_alike_are_one_line() -> None:
    left_out = [
        skipped(f"acme/n{i}", code="needs_allow_pickle", reason=f"n{i}.ckpt is one.", hint="Ask.")
        for i in range(9)
    ]
    text = " ".join(shown(ranking([evaluation()], left_out)).split())
    assert "acme/n0 [needs_allow_pickle] n0.ckpt is one." in text
    assert "The same of acme/n1, acme/n2, acme/n3 and 5 more. Ask." in text
    for one in left_out[4:]:
        assert one.name not in text
    few = " ".join(shown(ranking([evaluation()], left_out[:4])).split())
    assert all(one.name in few for one in left_out[:4])


def test_what_another_objective_ranks_by_has_a_column() -> None:
    one = evaluation("a", right(80))
    plain = ranking([one])
    assert "log_me" not in shown(plain)
    other = ranking([one], objective="log_me")
    assert "log_me" in shown(other)
    assert "0.25" in shown(other)
    missing = other.ranking[0].model_copy(update={"score": None})
    assert "–" in shown(other.model_copy(update={"ranking": (missing,)}))


def test_ranks_by_one_number_for_all_images_claim_no_interval() -> None:
    def legend(objective: str) -> str:
        two = ranking([evaluation("a"), evaluation("b")], objective=objective)
        return " ".join(shown(two).split())

    assert "Ranked by LogME: one number for all images, of which no interval" in legend("log_me")
    assert "resampled" not in legend("log_me")
    assert "over resampled test images. Lines part groups" in legend("lda")


# --- narrow terminals ---------------------------------------------------------------------------

LONG = "tiny_resnet.cifar10_linf_8"


def columns_of(width: int, objective: str = "attacked") -> set[str]:
    """Words of the head of a table with ten names of 26 characters."""
    names = [LONG[:-1] + str(number) for number in range(10)]
    document = ranking([evaluation(name) for name in names], objective=objective)
    text = shown(document, width)
    assert widest(text) <= width
    head, _, rows = text.partition("┡")
    if width >= 60:
        assert all(name in rows for name in names), "no name is folded"
    assert ("A wider terminal" in flat(text)) == (width < 100)
    return {word for word in ("withstood", "robust", "clean", "loss", "usual") if word in head}


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (100, {"withstood", "robust", "clean", "loss", "usual"}),
        (99, {"withstood", "robust", "clean", "loss"}),
        (80, {"withstood", "robust", "clean"}),
        (60, {"withstood", "clean"}),
        (40, {"withstood"}),
    ],
)
def test_a_narrow_terminal_loses_columns_before_it_folds_names(
    width: int, columns: set[str]
) -> None:
    assert columns_of(width) == columns


def test_what_is_ranked_by_stays_longest() -> None:
    for width in (60, 80, 100):
        names = ranking([evaluation(LONG)], objective="log_me")
        assert "log_me" in shown(names, width).partition("┡")[0]
