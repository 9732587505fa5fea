"""CloudFormation: what ministack's stacks lack. Patched when ministack loads it, which is when it is first used.

change_sets     lists only resources whose condition holds; refuses stacks that failed to be created
resource_types  an OpenID Connect provider, a Slack channel
kubernetes      access entries, service accounts' roles, a cluster that is waited for
alarms          alarms on expressions
buckets         lifecycle rules of buckets
"""
