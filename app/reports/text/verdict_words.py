"""Display words for verdicts and for the status of requirements.

The verdict `fail` would be easily confused with the status `failed`. JSON, CSV and trackers keep the values.
"""

VERDICTS = {"pass": "requirements met", "fail": "requirements not met"}
REQUIREMENTS = {"pass": "met", "fail": "not met"}


def verdict_words(word: str) -> str:
    """Returns the display words of a verdict; any other word, such as a status, unchanged."""
    return VERDICTS.get(word, word)


def requirement_words(status: str) -> str:
    """Returns the display words for the status of a requirement."""
    return REQUIREMENTS.get(status, status)
