"""Style sheet and Content-Security-Policy of the report as a self-contained HTML file."""

import base64
import hashlib
from functools import cache
from importlib import resources

from markupsafe import Markup


@cache
def stylesheet() -> Markup:
    """Returns the style sheet of all pages."""
    return Markup(resources.files("app.web").joinpath("static/halftime.css").read_text("utf-8"))  # noqa: S704 # our own


@cache
def policy() -> str:
    """Returns a Content-Security-Policy that allows this style sheet and forbids everything else."""
    digest = base64.b64encode(hashlib.sha256(stylesheet().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
