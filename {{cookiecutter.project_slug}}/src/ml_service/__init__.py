"""What every service needs at run time, and nothing of any model or framework: the standard library alone.

release      what this process is part of: commit, version, model, content, number of the release
models       the promoted models, verified by digest before anything opens them
telemetry    a request's line of log, which is its metrics too
problems     answers to what went wrong, as RFC 9457 says
secrets      secrets, read by reference when they are needed
cache        answers that were given before, in Redis

This folder belongs to the template: ``cruft update`` brings a newer one, and what is changed here makes that conflict. It
is a folder and not a distribution, since it runs inside the artifact: so the service's own locks stay free of the
delivery package, a build packs it like any other source below ``src/``, and every line that serves is in the service's
repository, for a reviewer to read. ``docs/contract.md`` of the template says which parts delivery relies on; a service may
do the same in its own way, and delete what it does not use.
"""
