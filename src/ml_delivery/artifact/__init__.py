"""Artifacts: what goes in, how each target packs and pushes it, and where it lies.

codebuild                   a build on CodeBuild, started and followed
build                       what goes in, as one digest, and the manifest of what came of it
packers/                    how each target packs and pushes it
bundle                      the dependencies, copied as they lie in their wheels
registry                    images, by commit and by digest
store                       artifacts by content, and by the commit that they are of
engines                     who builds images on this machine
archive, bytecode, sbom     a ZIP's bytes, compiled modules, what is installed
"""
