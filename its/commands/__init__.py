"""What commands do that are no stage: a module each."""
