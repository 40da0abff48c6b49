"""What Halftime measures about itself: ratios within one run, with the machine they were measured on."""
