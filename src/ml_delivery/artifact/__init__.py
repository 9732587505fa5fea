"""Artifacts: built, pushed and found.

codebuild     runs a build on CodeBuild, and follows it
push          pushes the built artifact to its environment
build         builds the artifact, with its manifest
provenance    states where an artifact comes from, and checks it
confirmation  compares it with CodeBuild's own record of the build
store         artifacts in the bucket, by content and by source
"""
