"""Artifacts: built once, pushed once, found again.

codebuild   a build on CodeBuild, started and followed
push        the built artifact, put where its environment finds it
build       what goes in, as one digest, and the manifest of what came of it
store       artifacts in the bucket, by content and by the source that they are of
"""
