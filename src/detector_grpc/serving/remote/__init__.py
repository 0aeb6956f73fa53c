"""Models that run in another process of this machine, so that all server processes put their pictures into one batch.

Python runs one thread of a process at a time, and all that a server does for a picture takes longer than a fast GPU
does. So there are several servers for one engine process. Server and engine share the memory of each picture; what they
say to each other, on one connection for each of the server's threads, is one byte for "run" and one for "done".
"""
