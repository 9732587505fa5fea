"""Runs ministack as this project's embedded AWS: loopback only, IAM enforced, state kept, its known gaps mended.

Started by ``embedded_aws.control`` as a script, with the interpreter of an environment that holds nothing but ministack.
One module per gap; each says what AWS does, and has a contract test in the template's ``tests/test_embedded*.py``.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).parent
HOME = Path(os.environ.pop("EMBEDDED_HOME"))

os.environ.update(
    BIND_HOST="127.0.0.1",
    AUTH="true",
    IOT_MTLS_ENABLED="0",  # it would listen on 0.0.0.0:8883
    SFTP_ENABLED="0",
    PERSIST_STATE="1",
    STATE_DIR=str(HOME / "state"),
    S3_PERSIST="1",
    S3_DATA_DIR=str(HOME / "s3"),
    LOG_LEVEL="WARNING",
    # The account's root, known to this process alone; ministack would take the well-known key "test" for it.
    AWS_ACCESS_KEY_ID=f"AKIA{secrets.token_hex(8).upper()}",
    AWS_SECRET_ACCESS_KEY=secrets.token_urlsafe(30),
)
# The project's ``pipeline`` package, for ``envs.find_python``; and this folder, for the mends.
sys.path[:0] = [str(HERE), str(HERE.parent)]


def main() -> None:
    """Import, mend, serve; returns when the server was told to stop."""
    import administrator
    import alarms
    import aliases
    import buckets
    import changesets
    import codebuild
    import emf
    import functions
    import images
    import insights
    import late
    import metricmath
    import metrics
    import providers
    import registry
    import rights
    import saving
    import signin
    import tokens
    import updates
    from ministack import app

    signin.mend()
    tokens.mend(HOME / "issuers")
    rights.mend()
    updates.mend()
    aliases.mend()
    late.once_loaded(app, "cloudformation", buckets.mend, alarms.mend_stacks, changesets.mend, providers.mend)
    functions.mend(HOME / "tmp")
    registry.mend(HOME)
    images.mend(HOME / "tmp")
    codebuild.mend(HOME)
    metrics.mend()
    emf.mend()
    metricmath.mend()
    alarms.mend()
    insights.mend()
    saving.mend(app, HOME, administrator.prepare(HOME))
    app.main()


if __name__ == "__main__":
    main()
