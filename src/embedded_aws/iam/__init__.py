"""IAM and STS: who a request is from, and what it may do.

conditions      condition keys of conditional writes, and a session's ARN in policies
rights          the rights that a call needs, on which resource
signatures      only requests signed with a known key have an identity
web_identities  sessions for tokens that an OpenID Connect issuer has signed
"""
