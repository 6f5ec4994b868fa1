"""What tests of commands share."""

import sys

import pytest

from laconic.cli import app as cli


@pytest.fixture
def laconic(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; gives back exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["laconic", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call
