"""Examinations that verify a leg's precision and measure how far its results are from exact arithmetic."""
