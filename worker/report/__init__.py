"""From trials to the report: figures, verdicts, warnings, attestation."""
