"""What the machine does while a trial is measured, and whether that spoils the trial."""
