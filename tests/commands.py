"""Whether the command line has a command that a file starts."""

from typer.main import get_command

from app.cli import cli


def parse(command):
    """Fails where `halftime` lacks the command or one of its options."""
    program, *arguments = command
    assert program == "halftime"
    group = get_command(cli)
    with group.make_context("halftime", ["--help"], resilient_parsing=True) as context:
        name, subcommand, rest = group.resolve_command(context, arguments)
        subcommand.make_context(name, rest, parent=context).close()
