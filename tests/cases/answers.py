"""What the service answered to a request, and the right answers of the cases, each as a check of it."""

import re
from dataclasses import dataclass, field
from typing import Any

from app.cli.exit_codes import EXIT_CODES

#: Words of a library or of Python that say nothing to somebody who wrote a request.
FOREIGN = re.compile(r"\b[A-Z]\w*(Error|Exception)\b|rejected this model|\bNone\b")

#: A field of a request, as failures name it.
FIELD = re.compile(r"\b(config|model|training)\.\w+|/model/\w+|\bsequence_length\b|\bimage_size\b")


@dataclass(frozen=True)
class Answer:
    """The refusal of a request, or the benchmark that it became, with its report if it has one."""

    problem: dict[str, Any] | None = None
    benchmark: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] | None = None

    @property
    def failure(self):
        return self.benchmark.get("failure")

    @property
    def candidate(self):
        """The first candidate's leg."""
        return self.comparison["candidate"]

    @property
    def comparison(self):
        assert self.report, self.problem or self.failure
        return self.report["comparisons"][0]

    def requirement(self, name):
        return next(found for found in self.comparison["requirements"] if found["name"] == name)


def trains(answer):
    """Both legs trained, and the comparison is valid."""
    assert answer.report, answer.problem or answer.failure
    assert answer.report["verdict"] != "invalid", answer.report["attestation"]
    legs = [answer.report["baseline"], answer.candidate]
    assert [leg["failure"] for leg in legs] == [None, None]
    assert all(len(leg["trials"]) == 2 for leg in legs)


def is_examined_or_says_why_not(answer):
    """The figures stand, and what could not be examined has its reason; nothing is said to be refused."""
    trains(answer)
    for leg in (answer.report["baseline"], answer.candidate):
        first = leg["trials"][0]
        assert first["numerics"] or first["not_examined"]["numerics"]
        assert first["attestation"]["forward_dtypes"] or first["not_examined"]["forward_dtypes"]
    assert not any("rejected this model" in warning for warning in answer.report["warnings"])


def tells_the_precision_of_experts(answer):
    """All products are in the leg's precision, or the report names the experts whose products are not."""
    trains(answer)
    multiplied = answer.candidate["trials"][0]["attestation"]["multiplied_flops"]
    in_bf16 = multiplied["bfloat16"] / sum(multiplied.values())
    assert in_bf16 > 0.99 or any("xperts" in warning for warning in answer.report["warnings"])


def trains_or_is_refused_at_a_field(answer):
    """The model trains, or the refusal names a field in our words, not in those of a library."""
    if answer.report:
        return trains(answer)
    if answer.problem:
        assert all(fault["loc"].startswith("/model/") for fault in answer.problem["errors"])
        said = " ".join(fault["msg"] for fault in answer.problem["errors"])
    else:
        said = answer.failure["detail"]
        assert answer.failure["code"] == "invalid_model"
        assert FIELD.search(said), said
    assert not FOREIGN.search(said), said
    return None


def refuses_the_length(answer):
    """The model needs another length, and the refusal names the field."""
    assert not answer.report
    trains_or_is_refused_at_a_field(answer)
    assert "sequence_length" in str(answer.problem["errors"] if answer.problem else answer.failure["detail"])


def names_the_module_that_fails(answer):
    """The candidate failed, as the model does under autocast; the failure names the module."""
    failure = answer.candidate["failure"]
    assert answer.report["baseline"]["failure"] is None
    assert failure["code"] not in {"internal", "invalid_model"}
    assert not failure["retryable"]
    assert re.search(r"\bdeberta\.[\w.]+", failure["detail"]), failure["detail"]
    assert answer.report["verdict"] in {"fail", "inconclusive"}


def trains_or_names_another_precision(answer):
    """The CPU has the kernel, or the leg failed and its remedy is not the leg itself."""
    failure = answer.candidate["failure"]
    if failure is None:
        return trains(answer)
    assert answer.report["baseline"]["failure"] is None
    assert not re.search(r"\buse bf16\b", failure["detail"], re.IGNORECASE), failure["detail"]
    return None


def says_that_no_step_was_applied(answer):
    """The remedy is the scale or the number of steps, not the learning rate."""
    failure = answer.candidate["failure"]
    assert failure["code"] == "nonfinite_loss"
    assert "no step was applied" in failure["detail"]
    assert "init_scale" in failure["detail"]
    assert "learning rate" not in failure["detail"]


def is_inconclusive_in_accuracy(answer):
    """Neither leg learned, so equal accuracies show nothing."""
    trains(answer)
    assert answer.requirement("max_accuracy_difference")["status"] == "inconclusive"
    assert answer.report["verdict"] == "inconclusive"


def names_the_dtype_of_the_file(answer):
    """The refusal names the array and its dtype, not one that it was converted to."""
    assert answer.failure["code"] == "invalid_data"
    assert "`targets`" in answer.failure["detail"]
    assert "float64" in answer.failure["detail"]
    assert "float32" not in answer.failure["detail"]


def exits_with_the_verdict(exit_code, answer):
    """A command's exit code is that of the verdict of its report."""
    trains(answer)
    assert exit_code == EXIT_CODES[answer.report["verdict"]]
