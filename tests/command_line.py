"""What the tests of the command line share."""

from spikejax import cli


def fails(capsys, *argv):
    """Run the command, expect exit code 2 and one line of error; returns it."""
    capsys.readouterr()
    assert cli.main([str(a) for a in argv]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("spikejax: ")
    assert "\n" not in error
    return error
