"""The variables that each release adds to the service's own; settings know them without the records of releases."""

__all__ = ["DIGEST_VARIABLE", "RELEASE_VARIABLE"]

# The release's number and its artifact's digest, which the service returns at /version.
RELEASE_VARIABLE, DIGEST_VARIABLE = "RELEASE_NUMBER", "RELEASE_DIGEST"
