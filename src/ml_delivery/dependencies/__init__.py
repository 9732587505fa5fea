"""Lockfiles, and what is installed from them.

wheels      fetches wheels, and caches them by hash
locks       makes, checks and reads the lockfiles
envs        Python interpreters and virtual environments
"""
