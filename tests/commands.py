"""Checks commands that files start against the command line."""

from typer.main import get_command

from app.cli import cli


def parse(command):
    """Fail if `halftime` lacks the command or one of its options."""
    program, *arguments = command
    assert program == "halftime"
    group = get_command(cli)
    with group.make_context("halftime", ["--help"], resilient_parsing=True) as context:
        name, subcommand, rest = group.resolve_command(context, arguments)
        subcommand.make_context(name, rest, parent=context).close()
