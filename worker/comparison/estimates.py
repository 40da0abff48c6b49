"""Estimates with 95 % intervals, and their comparison with thresholds: pure functions of measured samples."""

import functools
import math
import statistics
from collections.abc import Sequence
from typing import Literal

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.report import Difference, RequirementStatus

CONFIDENCE = 0.95

#: Two-sided quantile of the normal distribution: half-width of an interval in known standard errors.
NORMAL_QUANTILE = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

#: Halvings of a right angle until the rest is below a float's resolution.
BISECTIONS = 60


@functools.cache
def t_quantile(degrees_of_freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t: half-width of an interval in standard errors.

    Found by bisection over the angle whose tangent is t / √(degrees of freedom).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, degrees_of_freedom) < CONFIDENCE else (low, middle)
    return math.tan(low) * math.sqrt(degrees_of_freedom)


def _t_probability(angle: float, degrees_of_freedom: int) -> float:
    """Probability that |t| is less than the angle's tangent times √(degrees of freedom).

    A finite sum for whole degrees (Abramowitz & Stegun 1964, 26.7.3 for odd ones and 26.7.4 for even ones).
    """
    odd = degrees_of_freedom % 2
    cosine = math.cos(angle)
    term = cosine if odd else 1.0
    total = term if degrees_of_freedom > 1 else 0.0
    for power in range(2 + odd, degrees_of_freedom - 1, 2):
        term *= (power - 1) / power * cosine**2
        total += term
    probability = math.sin(angle) * total
    return 2 / math.pi * (angle + probability) if odd else probability


def mean_interval(values: Sequence[float], pilot: int) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval, for a sample whose size was planned from its first `pilot` values.

    Takes the wider of two: Stein's two-stage interval, whose standard deviation is the pilot's, so that looking at the
    pilot to choose the size does not narrow it (Stein 1945, Annals of Mathematical Statistics 16, 243-258); and the
    ordinary t interval of all values, which includes outliers after the pilot. Raises ValueError for fewer than two
    values.
    """
    if len(values) < 2:
        raise ValueError("an interval needs two values")
    half_widths = [t_half_width(part, len(values)) for part in (values[:pilot], values)]
    return statistics.fmean(values), max(half_widths)


def t_half_width(sample: Sequence[float], size: int) -> float:
    """Half-width of the interval of the mean of `size` values with the standard deviation of `sample`."""
    return t_quantile(len(sample) - 1) * statistics.stdev(sample) / math.sqrt(size)


def ratio_estimate(log_ratios: Sequence[float], pilot: int) -> Estimate:
    """Geometric mean of the paired ratios of all blocks (exp of the mean log ratio), with its interval."""
    return _exponential(log_ratios, pilot)


def geometric_mean(values: Sequence[float], pilot: int) -> Estimate:
    """exp of the mean logarithm, with its interval."""
    return _exponential([math.log(value) for value in values], pilot)


def _exponential(logs: Sequence[float], pilot: int) -> Estimate:
    mean, half_width = mean_interval(logs, pilot)
    return Estimate(value=math.exp(mean), ci_low=math.exp(mean - half_width), ci_high=math.exp(mean + half_width))


def difference_estimate(
    baseline: Sequence[float], candidate: Sequence[float], pilot: int, predictions: Sequence[int] | None = None
) -> Difference:
    """Absolute value of the mean signed difference (baseline - candidate), with the interval of the signed mean.

    The mean of absolute differences would be biased away from zero. For a metric that is a share of right predictions,
    `predictions` is their number in each block, the same ones in both legs.
    """
    differences = [a - b for a, b in zip(baseline, candidate, strict=True)]
    mean, half_width = mean_interval(differences, pilot)
    if predictions is not None:
        half_width = max(half_width, paired_sampling_half_width(differences, predictions))
    return Difference(value=abs(mean), signed_mean=mean, ci_low=mean - half_width, ci_high=mean + half_width)


def gain_estimate(
    values: Sequence[float],
    chances: Sequence[float],
    pilot: int,
    predictions: Sequence[int] | None = None,
    better: Literal["higher", "lower"] = "higher",
) -> Estimate:
    """How far a metric is beyond chance, in its direction of improvement: the mean over all blocks, with its interval.

    `predictions` as in `difference_estimate`.
    """
    sign = 1 if better == "higher" else -1
    mean, half_width = mean_interval([sign * (a - b) for a, b in zip(values, chances, strict=True)], pilot)
    if predictions is not None:
        half_width = max(half_width, sampling_half_width(values, predictions))
    return Estimate(value=mean, ci_low=mean - half_width, ci_high=mean + half_width)


def sampling_half_width(shares: Sequence[float], predictions: Sequence[int]) -> float:
    """Smallest half-width of the mean of shares of right predictions: their binomial error, at least one prediction.

    Equal shares in few blocks have no spread, yet other held-out samples would have given others.
    """
    return _at_least_one([share * (1 - share) for share in shares], predictions)


def paired_sampling_half_width(differences: Sequence[float], predictions: Sequence[int]) -> float:
    """Smallest half-width of the mean difference of two shares of the same predictions, at least one prediction.

    Where the shares differ by d, the legs disagree on at least |d| of the predictions. The net of disagreements has the
    variance of a trinomial, (share of disagreements - d²) / n (McNemar 1947, Psychometrika 12, 153-157), which is then
    at least (|d| - d²) / n.
    """
    return _at_least_one([abs(difference) - difference**2 for difference in differences], predictions)


def _at_least_one(variances: Sequence[float], predictions: Sequence[int]) -> float:
    """Half-width of a mean over blocks from the variance of one prediction in each; at least one of a block's."""
    of_means = [max(0.0, variance) / count for variance, count in zip(variances, predictions, strict=True)]
    return max(NORMAL_QUANTILE * math.sqrt(sum(of_means)) / len(of_means), 1 / min(predictions))


def reduction_percent(baseline_bytes: Sequence[int], candidate_bytes: Sequence[int]) -> Estimate:
    """(baseline - candidate) / baseline x 100: the mean over blocks, with minimum and maximum as the interval.

    Peaks are nearly the same in every block, so the range is more informative than a confidence interval.
    """
    percents = [100 * (a - b) / a for a, b in zip(baseline_bytes, candidate_bytes, strict=True)]
    return Estimate(value=statistics.fmean(percents), ci_low=min(percents), ci_high=max(percents))


def blocks_needed(pilot_log_ratios: Sequence[float], target_ci: float) -> int:
    """Number of blocks for a relative half-width of `target_ci`, from the pilot's variance: Stein's second stage."""
    spread = statistics.stdev(pilot_log_ratios)
    return math.ceil((t_quantile(len(pilot_log_ratios) - 1) * spread / math.log1p(target_ci)) ** 2)


def noise_floor(step_seconds: Sequence[float]) -> Estimate:
    """95 % range of the speedup between two runs of identical work over as many blocks.

    1 ± t·s·√(2/n) on the log scale, with s the standard deviation of the log medians of the baseline's n trials.
    The mean of consecutive differences telescopes, so they cannot be used. Raises ValueError for fewer than two trials.
    """
    if len(step_seconds) < 2:
        raise ValueError("a noise floor needs two trials")
    logs = [math.log(seconds) for seconds in step_seconds]
    half_width = t_quantile(len(logs) - 1) * statistics.stdev(logs) * math.sqrt(2 / len(logs))
    return Estimate(value=1.0, ci_low=math.exp(-half_width), ci_high=math.exp(half_width))


def noise_floor_in_turns(log_ratios_of_legs: Sequence[Sequence[float]]) -> Estimate:
    """95 % range of the speedup between two legs of identical work that take turns, over as many blocks.

    1 ± t·s/√n on the log scale, with s the standard deviation of the log ratios of n blocks: the root mean square over
    the legs that were compared with the baseline. Whatever their true ratio, its spread over blocks is noise. The legs
    share the baseline's noise, so t is that of one leg, with n - 1 degrees of freedom. Raises ValueError for a leg with
    fewer than two blocks.
    """
    variance = statistics.fmean(statistics.variance(of_leg) for of_leg in log_ratios_of_legs)
    blocks = min(map(len, log_ratios_of_legs))
    half_width = t_quantile(blocks - 1) * math.sqrt(variance / blocks)
    return Estimate(value=1.0, ci_low=math.exp(-half_width), ci_high=math.exp(half_width))


def judge_at_least(measured: Estimate, threshold: float) -> RequirementStatus:
    """Returns pass if the whole interval is at or above the threshold, fail if all of it is below."""
    if measured.ci_low >= threshold:
        return "pass"
    return "fail" if measured.ci_high < threshold else "inconclusive"


def judge_below(measured: Estimate, threshold: float) -> RequirementStatus:
    """pass: the whole interval is below the threshold; fail: all of it at or above."""
    if measured.ci_high < threshold:
        return "pass"
    return "fail" if measured.ci_low >= threshold else "inconclusive"


def judge_within(measured: Difference, threshold: float) -> RequirementStatus:
    """Returns pass if the signed interval lies inside ± threshold, fail if it lies entirely outside."""
    if -threshold < measured.ci_low and measured.ci_high < threshold:
        return "pass"
    return "fail" if measured.ci_low >= threshold or measured.ci_high <= -threshold else "inconclusive"
