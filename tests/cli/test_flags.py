"""Messages name parameters of Python; the command line shows the flags."""

from __future__ import annotations

import pytest

from tests.test_structure import MODULES, PACKAGE
from tts_pipeline.cli.flags import with_flags
from tts_pipeline.options import BY_PARAMETER, OPTIONS


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("raise `max_rejects`, and run again", "raise --max-rejects, and run again"),
        ("use `generate_ids=True` to make ids", "use --generate-ids to make ids"),
        ("use `hive=False`", "use --hive off"),
        ("use `utterance_id='NAME'`", "use --id-column NAME"),
        ("leave out `drop=['a', 'two words']`", "leave out --drop a --drop 'two words'"),
        ("use `columns={'take': 'COLUMN'}`", "use --column take=COLUMN"),
        ("use `rename={\"it's\": 'new'}`", "use --rename 'it'\"'\"'s=new'"),
        ("`where='a > 1'`: no column", "--where 'a > 1': no column"),
        ("give `latency_s`", "give --latency-s"),
        (r"leave out `drop=['a\nb\x1b[1m']`", "leave out --drop 'a b\ufffd[1m'"),
    ],
)
def test_a_parameter_is_shown_as_its_flag(message: str, expected: str) -> None:
    """With its value, as a shell takes it, and on one line."""
    assert with_flags(message) == expected


@pytest.mark.parametrize(
    "message",
    ["`tts-pipeline models` lists them", "`drop=[name]`", "`drop=['a`b']`", "`unknown`", "drop=['a']", "a ` b"],
)
def test_whatever_else_a_message_quotes_stays(message: str) -> None:
    """Commands, and data that is no literal."""
    assert with_flags(message) == message


def test_every_option_has_a_name_for_messages() -> None:
    """Each by its own, so that no message can mean two flags."""
    assert {option.name for option in BY_PARAMETER.values()} == {option.name for option in OPTIONS}


def test_no_message_outside_the_command_line_names_a_flag() -> None:
    """Who calls the package from Python, or from Airflow, has no flags."""
    flags = {f"{before}{option.flag}{after}" for option in OPTIONS for before in " \"'(`" for after in " \"'),:;."}
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] in {"cli", "emulator", "options.py"}:
            continue
        text = "\n".join(line for line in path.read_text().splitlines() if "``--" not in line)
        assert not [flag for flag in flags if flag in text], path
