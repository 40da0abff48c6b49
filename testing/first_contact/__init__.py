"""Observes a new kind of GPU once, in many small observations, each recorded at once: the first program to run on it.

wheels.py        wheels that it needs beside Python and torch
run.py           the stages, in order, each within its share of the time
timetable.py     deadlines of the stages
record.py        the file of lines
lines.py         the kinds of lines
processes.py     a fresh process for code that uses the device
scale.py         models and sizes, for a GPU and for a dry run
facts.py         the machine and the device
switches.py      torch's switches as read after each precision was set
probes.py        errors of small operations against FP64
ceilings.py      the fastest matrix product, and cuBLAS workspaces
waits.py         operations that make the host wait
load.py          NVML while the device computes
trials.py        one trial of each model and precision, and one of each edge case
whole.py         a whole comparison with its report
neighbour.py     a foreign process on the device during a trial
expectations.py  what each line is expected to say
summary.py       a summary for people

No decision should rest on its measurements: each trial runs once.
"""
