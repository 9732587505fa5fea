"""CodeBuild: a build runs its buildspec, as its project's role.

api        the operations: start, read and stop builds
build      one build: its phases, from the clone to the result
buildspec  which buildspecs are accepted, and what they cache
shell      the shell that runs a build's commands
log        the build's stream in CloudWatch Logs
"""
