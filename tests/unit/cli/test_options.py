"""Commands take every setting as a flag, and show those that concern them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from detector_grpc.cli import main
from detector_grpc.cli.options import with_settings_of

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


@click.command()
@with_settings_of("capture", "log_level")
def command(settings: Settings) -> None:
    click.echo(f"{settings.server.port} {settings.capture.max_per_hour}")


def test_help_shows_the_settings_that_concern_a_command() -> None:
    shown = CliRunner().invoke(command, ["--help"]).output

    assert "--capture-max-per-hour" in shown
    assert "--log-level" in shown
    assert "--config" in shown
    assert "--server-port" not in shown


def test_the_others_are_taken_too() -> None:
    result = CliRunner().invoke(command, ["--server-port", "1234", "--capture-max-per-hour", "7"])

    assert result.output == "1234 7\n"


@pytest.mark.parametrize("group", [["samples", "list"], ["samples", "upload"], ["drift", "serve"], ["engine"]])
def test_what_a_command_has_nothing_to_do_with_is_not_in_its_help(group: list[str]) -> None:
    assert "--gateway-port" not in CliRunner().invoke(main, [*group, "--help"]).output
