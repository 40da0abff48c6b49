"""Export of reports to experiment trackers, whose libraries run in a process of their own."""
