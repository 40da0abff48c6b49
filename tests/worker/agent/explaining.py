"""A trial process with a stand-in for the profiler, for tests of what becomes of a trace."""

from worker.trial import process

#: Of an explained trial.
TRACE = bytes(range(256)) * 1000


def main(*arguments):
    """Runs the trial process; an explained trial gives a trace of its own after its training."""
    from worker.trial import task

    run_trial = task.run_trial

    def explained(spec, after_step, taker, keep_trace):
        result = run_trial(spec, after_step, taker, keep_trace)
        if spec.explained:
            keep_trace(TRACE)
        return result

    task.run_trial = explained
    process.main(*arguments)
