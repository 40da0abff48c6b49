"""How a device answers, each thing asked once and written down as it comes: what to run first on a new kind of GPU.

wheels.py        what it needs beside Python and torch
run.py           the stages, in order, each within its share of the time
timetable.py     when a stage must have ended
record.py        the file of lines
lines.py         what a line can be
processes.py     a fresh process for what touches the device
scale.py         models and sizes, for a GPU and for a dry run
facts.py         the machine and the device
switches.py      what torch's switches read after each precision was set
probes.py        errors of small operations against FP64
ceilings.py      the fastest matrix product, and workspaces of cuBLAS
waits.py         what makes the host wait
load.py          NVML while the device computes
trials.py        one trial of each model and precision, and one at each edge
whole.py         a whole comparison with its report
neighbour.py     a process of another beside a trial
expectations.py  what a line should have said
summary.py       the end, for people

It measures nothing that a decision should rest on: each trial runs once.
"""
