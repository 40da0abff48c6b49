"""The words for a verdict and for what became of a requirement, wherever people read them.

A verdict `fail` and a status `failed` would look alike in a list. JSON, CSV and trackers keep the values.
"""

VERDICTS = {"pass": "requirements met", "fail": "requirements not met"}
REQUIREMENTS = {"pass": "met", "fail": "not met"}


def verdict_words(word: str) -> str:
    """A verdict in words; any other word, such as a status, as it is."""
    return VERDICTS.get(word, word)


def requirement_words(status: str) -> str:
    """The status of one requirement in words."""
    return REQUIREMENTS.get(status, status)
