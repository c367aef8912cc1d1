"""Words of the threat model that need no tensors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.errors import UsageError
from selector.norms import NORMS, format_threat, parse_eps


def test_norms_are_the_two_that_the_theory_is_measured_in():
    assert NORMS == ("linf", "l2")


@pytest.mark.parametrize(
    ("text", "eps"),
    [
        ("4/255", 4 / 255),
        (" 4 / 255 ", 4 / 255),
        ("0.5", 0.5),
        ("0.5/255", 0.5 / 255),
        (".5", 0.5),
        ("3", 3.0),
        ("1e-3", 0.001),
        ("-1/255", -1 / 255),
        ("0", 0.0),
    ],
)
def test_parse_eps_reads(text: str, eps: float):
    assert parse_eps(text) == eps


@pytest.mark.parametrize(
    "text", ["", "four", "4/", "4/0", "4/255/2", "0x10", "nan", "inf", "1e999"]
)
def test_parse_eps_refuses_by_name_and_with_what_it_found(text: str):
    with pytest.raises(UsageError) as caught:
        parse_eps(text)
    assert str(caught.value).startswith("--eps must be")
    assert repr(text) in str(caught.value)


@given(st.integers(1, 255))
def test_8_bit_steps_survive_being_written_and_read(steps: int):
    name, text = format_threat("linf", steps / 255).split()
    assert (name, text) == ("linf", f"{steps}/255")
    assert parse_eps(text) == steps / 255


@pytest.mark.parametrize(
    ("norm", "eps", "text"),
    [
        ("l2", 1.0, "l2 1"),
        ("l2", 51 / 255, "l2 0.2"),
        ("linf", 0.1, "linf 0.1"),
        ("linf", 4.5 / 255, "linf 4.5/255"),
        ("linf", 0.4567 / 255, "linf 0.00179098"),
    ],
)
def test_round_8_bit_steps_of_linf_are_written_as_fractions(norm, eps: float, text: str):
    assert format_threat(norm, eps) == text


def test_a_long_size_is_cut_in_the_message() -> None:
    with pytest.raises(UsageError) as caught:
        parse_eps("x" * 10_000)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "1/1e999000074", "0.5e99999999"])
def test_a_number_that_no_memory_holds_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="must be a number or a fraction"):
        parse_eps(text)
