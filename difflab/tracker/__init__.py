"""Where a run's figures are shown besides metrics.jsonl, which is the record of truth."""
