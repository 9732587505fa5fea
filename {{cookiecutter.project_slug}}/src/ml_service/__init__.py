"""What every service needs at run time, whatever its model and framework; needs the standard library only.

release      the release that this process belongs to: number, commit, version, model, content
models       the promoted models, verified by digest before they are opened
telemetry    the log line of a request, which carries its metrics, too
outcomes     what came of requests, written to the log, for A/Bs
problems     error answers as problem documents (RFC 9457)
secrets      secrets by reference, read when they are needed
cache        cached answers, in Redis

This folder belongs to the template: ``invoke upgrade`` brings newer versions, which conflict with changes made here. It is
a folder rather than a distribution, because it runs inside the artifact: the service's lockfiles stay free of the delivery
package, a build packs it like any other source below ``src/``, and a reviewer can read every line that serves. A service may
delete what it does not use; ``docs/contract.md`` of the template says what delivery relies on.
"""
