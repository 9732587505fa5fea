"""Lockfiles, and what is installed from them.

wheels      fetches wheels, and caches them by hash
locks       makes, checks and reads the lockfiles
pyproject   what is declared for each of them
envs        Python interpreters and virtual environments
"""
