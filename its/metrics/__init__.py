"""Numbers of a study: rates, intervals, comparisons, choices, votes."""
