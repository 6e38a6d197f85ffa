"""``latte timing``: what it refuses, and what its help names."""

from click.testing import CliRunner

from latte.fpga.placement.commands import timing_command
from tests.test_cli import refused


def test_serial_engine_has_no_wide_blocks(tmp_path):
    refused("timing", "--config", "tiny", "--block", "softmax", "--device", "up5k", folder=tmp_path, says="no softmax")
    refused("timing", "--config", "tiny", "--block", "other", folder=tmp_path, says="unknown block")


def test_help_names_the_blocks():
    assert "pe_array" in CliRunner().invoke(timing_command, ["--help"]).output
