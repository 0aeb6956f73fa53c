"""Processes that belong together: started, kept running, heard, and stopped in order."""
