"""Limits that the server's settings put on a valid request."""

from app import errors
from app.background.webhooks import refusal_of
from app.settings import Settings
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.problem import FieldError


def check_allowed(request: BenchmarkRequest, settings: Settings) -> None:
    """Checks a request against the server's settings. Raises TooManyParameters, WebhookRefused."""
    _check_size(request, settings)
    check_webhook(request, settings)


def check_webhook(request: BenchmarkRequest, settings: Settings) -> None:
    """Raises WebhookRefused for a webhook that this server's settings do not allow."""
    if request.webhook is None:
        return
    refusal = refusal_of(str(request.webhook.url), settings)
    if refusal is not None:
        fault = FieldError(loc="/webhook/url", msg="not allowed", type="webhook_refused")
        raise errors.WebhookRefused(refusal, [fault])


def _check_size(request: BenchmarkRequest, settings: Settings) -> None:
    """Raises TooManyParameters for a model over the server's limit, where its size can be counted without torch."""
    count = request.model.parameter_count()
    if count is not None and count > settings.max_parameters:
        fault = FieldError(loc="/model", msg=f"{count:,} parameters", type="too_many_parameters")
        raise errors.TooManyParameters(
            f"The model has {count:,} parameters; this server accepts at most {settings.max_parameters:,}. "
            "Use a smaller model, or ask an operator to raise HALFTIME_MAX_PARAMETERS.",
            [fault],
        )
