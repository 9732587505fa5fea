"""What AWS refuses and ministack accepts, whatever the service. ``docs/limits.toml`` lists it, with a contract for each row.

resources    a stack's resources are checked like the requests that would make them
requests     each request is checked before the service sees it
objects      S3: names, keys, metadata, parts
rules        documented limits that no service model declares: IAM, SSM, secrets, CloudWatch, logs, SNS, CloudFormation
constraints  what the service models declare, which ship with botocore
"""
