"""The templates, with the wording that every format of a report shares."""

from functools import cache

import jinja2

from app.reports import wording
from app.web import formats


@cache
def environment() -> jinja2.Environment:
    """What renders every page: all text is escaped, and a name that a template misspells is an error."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("app.web"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters |= {
        "headline": wording.headline,
    }
    templates.filters |= formats.FILTERS
    return templates
