"""Text that others wrote, made safe for a terminal."""

from rich.text import Text

#: A terminal obeys C0 and C1 controls, and reorders what stands between direction marks.
_CONTROLS = {*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")}
_DIRECTIONS = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_SHOWN = dict.fromkeys(_CONTROLS | _DIRECTIONS, "\N{REPLACEMENT CHARACTER}")


def sanitize(text: str) -> str:
    """The text with a visible mark for every character that a terminal would obey; lines and tabs stay."""
    return text.translate(_SHOWN)


def safe_text(text: str, style: str = "", most: int = 500) -> Text:
    """The text in one line, as it stands, markup included; what is longer than so many characters is cut."""
    line = sanitize(" ".join(text.split()))
    return Text(line if len(line) <= most else f"{line[: most - 1]}…", style=style)
