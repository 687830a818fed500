"""What of a set is kept: filters, duplicates, splits, samples, overlaps."""
