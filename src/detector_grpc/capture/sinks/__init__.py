"""Where samples are brought to: a folder, or S3 and what speaks its language."""
