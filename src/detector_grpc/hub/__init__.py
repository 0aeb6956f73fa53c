"""Models of others: which there are, and how they come into a model repository."""
