"""A fleet whose workers are real in all but their trials: those have the true shape, and do no work.

Times are in scale: a simulated trial reports steps of true length and sleeps a hundredth of that.
"""
