"""What a study takes before it runs: memory, hours and disk by formulas; docs/plan.md has them with their sources."""
