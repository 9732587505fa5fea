"""Files into archives, the same bytes on any machine.

ingredients     what goes into an artifact, and what each package weighs
bundle          the dependencies as one archive, copied as they lie in their wheels
sbom            the bill of materials
archive         a ZIP's bytes
bytecode        compiled modules
"""
