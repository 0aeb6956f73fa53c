"""Loads that a server is put under, and what can be said of how it bore them. Knows nothing of terminals."""
