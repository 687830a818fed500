"""What the installed package brings to a study outside the clone: its files, its graph, the hashes of its code."""
