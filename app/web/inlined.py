"""What a page that stands alone carries within it, and what it lets a browser do."""

import base64
import hashlib
from functools import cache
from importlib import resources

from markupsafe import Markup


@cache
def stylesheet() -> Markup:
    """The style of all pages."""
    return Markup(resources.files("app.web").joinpath("static/halftime.css").read_text("utf-8"))  # noqa: S704 # our own


@cache
def policy() -> str:
    """The Content-Security-Policy of such a page: this style, and nothing else from anywhere."""
    digest = base64.b64encode(hashlib.sha256(stylesheet().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
