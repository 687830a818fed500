"""What is kept of a set: filters, duplicates, splits, samples, overlaps."""
