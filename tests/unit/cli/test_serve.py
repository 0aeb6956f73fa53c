from __future__ import annotations

from click.testing import CliRunner

from detector_grpc import settings
from detector_grpc.cli import main


def test_every_setting_has_a_flag_and_names_its_variable() -> None:
    shown = CliRunner().invoke(main, ["serve", "--help"], env={"COLUMNS": "400"}).output
    for path, variable, _ in settings.variables():
        assert "--" + path.replace(".", "-").replace("_", "-") in shown
        assert variable in shown


def test_wrong_settings_end_the_command_with_a_line_each() -> None:
    result = CliRunner().invoke(main, ["serve", "--server-port", "99999"], env={"LOG_LEVEL": "loud"})
    assert result.exit_code == 2
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == ["LOG_LEVEL", "DETECTOR_SERVER_PORT"]
