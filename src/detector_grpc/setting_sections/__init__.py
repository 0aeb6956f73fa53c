"""The sections of the settings: every setting that has one, with its unit, range and default."""
