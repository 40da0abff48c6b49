"""Removes terminal control characters from untrusted text."""

from rich.text import Text

#: Terminals execute C0 and C1 controls, and bidirectional marks reorder the text around them.
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")}
_DIRECTIONS = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_REPLACEMENTS = dict.fromkeys(_CONTROLS | _DIRECTIONS, "\N{REPLACEMENT CHARACTER}")


def sanitize(text: str) -> str:
    """Replaces every control and direction character with U+FFFD; line feeds and tabs stay."""
    return text.translate(_REPLACEMENTS)


def safe_text(text: str, style: str = "", most: int = 500) -> Text:
    """Returns the text as one sanitized line without interpreting markup, cut to `most` characters."""
    line = sanitize(" ".join(text.split()))
    return Text(line if len(line) <= most else f"{line[: most - 1]}…", style=style)
