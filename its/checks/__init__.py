"""What `its recipe check` and `its recipe use` check beyond the text of a recipe: rows, engines, training, git."""
