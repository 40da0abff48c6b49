"""Builds the report from trial results: figures, verdicts, warnings, attestation."""
