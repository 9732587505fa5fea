"""Packs files into archives, with the same bytes on any machine.

ingredients     what goes into an artifact
bundle          the dependencies as one archive, copied from their wheels without recompressing
shares          the size of each package
sbom            the bill of materials
assembly        writes the archive of dependencies
import_check    imports what is in it
pruning         what is left out
placement       where an installer puts the files of wheels
archive         writes a ZIP
importing       imports modules, in the service's interpreter
bytecode        compiled modules
"""
