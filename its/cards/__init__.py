"""What is known of a data set, as values and as Markdown."""
