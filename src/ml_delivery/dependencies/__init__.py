"""What is locked, and installed from the locks.

wheels      fetched once, kept by hash
locks       the hashed requirements files: compiled, compared, read
envs        Python interpreters and environments of their own
"""
