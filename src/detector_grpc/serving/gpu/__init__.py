"""Models on NVIDIA GPUs: sessions with memory of their own there, and the copies between."""
