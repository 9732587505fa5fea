"""SageMaker, which ministack doesn't have: containers run by SageMaker's own contract, and nothing completes by itself.

api          the service: dispatches requests, keeps the state
rights       the rights that a request needs
invoke       InvokeEndpoint
transform    batch transform jobs
endpoints    endpoints: created, updated, shifted, deleted
fleets       the variants behind an endpoint
instances    one serving container: its health, requests to it
configs      endpoint configurations
models       models
pipelines    pipelines and their executions
executions   a pipeline that runs
definitions  pipelines' definitions, checked and resolved
packages     the model registry
tuning       tuning jobs
tuner        a tuning job that runs
search       the next hyperparameters to try
training     training jobs
processing   processing jobs
hosts        the hosts of a job
artifacts    what a training job leaves
measures     a training job's metrics
tags         tags
accepted     which members of a request are obeyed
buckets      objects in S3, to and from folders
images       images in ECR, pulled as the execution role
containers   one container, with an engine or without
network      a network of its own for a container without an engine
logs         a container's log stream
roles        sessions of execution roles
store        the records of all resources
shapes       requests checked by AWS's model of them
refusal      how a request is refused
"""
