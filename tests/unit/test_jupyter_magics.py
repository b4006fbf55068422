"""What the line over a cell means."""

import pytest
from IPython.core.error import UsageError

from aifarm_jupyter.magics import parsed


def test_a_line_names_the_package_and_what_it_is_submitted_with() -> None:
    line = "digits epochs=3 title='Two words' tags=a,b config.hidden=128 config.net=resnet"
    assert parsed(line) == (
        "digits",
        {
            "epochs": 3,
            "title": "Two words",
            "tags": ["a", "b"],
            "config": {"hidden": 128, "net": "resnet"},
        },
    )


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("yes", True), ("ON", True), ("1", True), ("false", False), ("no", False)],
)
def test_a_switch_is_turned_by_a_word(word: str, value: bool) -> None:
    line = f"digits distributed={word} share_gpu={word}"
    assert parsed(line) == ("digits", {"distributed": value, "share_gpu": value})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "Say the package's name: %%farm NAME"),
        ("one two", "Say the package's name"),
        ("digits epoch=3", "There is no option epoch"),
        ("digits epochs=many", "epochs: 'many' is not a whole number."),
        ("digits title='open", "cannot be read"),
        ("digits distributed=maybe", "distributed: 'maybe' is neither yes nor no."),
    ],
)
def test_a_line_that_means_nothing_is_told_in_a_sentence(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parsed(line)
