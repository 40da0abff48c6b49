"""What legs are trained on."""

from typing import Literal

from app.contract.strict import Input


class SyntheticData(Input):
    """Seeded data with a known optimum: Markov chains for language, teachers and templates for the rest."""

    kind: Literal["synthetic"] = "synthetic"


DataConfig = SyntheticData

#: Every kind on offer, as `GET /models` lists them.
DATA_KINDS: dict[str, type[SyntheticData]] = {"synthetic": SyntheticData}
