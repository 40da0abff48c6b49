"""Somebody with a browser, who notices what should not be."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, Page

#: Needs no network.
LOCAL = {"data", "blob", "file", "about"}

#: What Chromium writes when an answer is an error: pages are shown for those, too.
EXPECTED = "Failed to load resource: the server responded with a status of 4"


@dataclass
class Visitor:
    """One page in a context of its own, and the complaints about it."""

    context: BrowserContext
    page: Page
    host: str
    complaints: list[str] = field(default_factory=list)

    @classmethod
    async def arrive(cls, chromium, address, **like):
        context = await chromium.new_context(**like)
        visitor = cls(context, await context.new_page(), urlsplit(address).netloc)
        context.on("request", visitor._look_at)
        context.on("console", visitor._listen)
        context.on("weberror", lambda error: visitor.complaints.append(f"script failed: {error.error}"))
        await context.route(lambda address: not visitor._is_here(address), lambda route: route.abort())
        await visitor.page.goto(address)
        return visitor

    async def leave(self):
        await self.context.close()

    def _is_here(self, address):
        parts = urlsplit(address)
        return parts.scheme in LOCAL or parts.netloc == self.host

    def _look_at(self, request):
        if not self._is_here(request.url):
            self.complaints.append(f"asked for {request.url}")

    def _listen(self, message):
        if message.type == "error" and not message.text.startswith(EXPECTED):
            self.complaints.append(f"console: {message.text}")
