"""Packs files into archives, with the same bytes on any machine.

ingredients     what goes into an artifact
bundle          the dependencies as one archive, copied from their wheels without recompressing
shares          the size of each package
sbom            the bill of materials
archive         writes a ZIP
bytecode        compiled modules
"""
