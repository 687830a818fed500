"""The responses behind every cell of the report, packed into the page and shown by its one script."""
