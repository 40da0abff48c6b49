"""A fleet of real workers whose trials are simulated: results have the real shape, but nothing is computed.

Times are scaled: a simulated trial reports steps of realistic length and sleeps a hundredth of that.
"""
