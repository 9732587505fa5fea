"""Packs files into archives, with the same bytes on any machine.

ingredients     what goes into an artifact, and each package's size
bundle          the dependencies as one archive, copied from their wheels without recompressing
sbom            the bill of materials
archive         writes a ZIP
bytecode        compiled modules
"""
