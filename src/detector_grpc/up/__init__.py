"""All processes of one machine: started, kept running and stopped together."""
