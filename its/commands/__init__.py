"""The work of commands beside the graph: cards, exports, lineage, pruning, grading of files and more."""
