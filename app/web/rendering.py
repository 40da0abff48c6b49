"""The template environment, with the wording shared by all formats of a report."""

from functools import cache

import jinja2

from app.reports.live.state import PHASES_WITHOUT_BLOCKS
from app.reports.text import ceilings, explanation, precisions, remedies, verdict_words, wording
from app.reports.traces import traced_legs
from app.web import formats
from halftime.contract.precisions import MARKS


@cache
def environment() -> jinja2.Environment:
    """Returns the template environment: it escapes all text and raises an error for undefined names."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("app.web"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters |= {
        "headline": wording.headline,
        "other_answers": wording.other_answers,
        "metric_text": wording.metric_text,
        "requirement_rows": wording.requirement_rows,
        "leg_names": wording.leg_names,
        "titled_comparisons": wording.titled_comparisons,
        "leg_rows": wording.leg_rows,
        "memory_rows": wording.memory_rows,
        "trial_rows": wording.trial_rows,
        "is_explained": explanation.is_explained,
        "explained": explanation.explained,
        "why_line": explanation.why_line,
        "gain_line": explanation.gain_line,
        "evidence_line": explanation.evidence_line,
        "kind_tables": explanation.kind_tables,
        "slowest_lines": explanation.slowest_lines,
        "missing_lines": explanation.missing_lines,
        "split_text": explanation.split_text,
        "context_lines": wording.context_lines,
        "traced_legs": traced_legs,
        "verdict_words": verdict_words.verdict_words,
        "requirement_words": verdict_words.requirement_words,
        "remedy": remedies.remedy,
        "ceiling_labels": ceilings.ceiling_labels,
        "ceilings_source": ceilings.ceilings_source,
        "precision_labels": precisions.precision_labels,
        "precision_hint": precisions.precision_hint,
        "precision_remedies": precisions.precision_remedies,
    }
    templates.filters |= formats.FILTERS
    templates.globals |= {
        "trial_columns": wording.trial_columns,
        "kind_columns": explanation.KIND_COLUMNS,
        "precision_marks": MARKS,
        "phases_without_blocks": PHASES_WITHOUT_BLOCKS,
    }
    return templates
