"""An emulator of AWS on loopback, for rehearsals and tests: ministack, with its known gaps closed.

It imports no other package of this project. A program that uses it calls ``control``, which starts the server in an
environment of its own; everything else runs in that server. Each module of a service closes one gap: its docstring says what
AWS does, with the source, and what ministack does instead; ``patch()`` replaces that; a contract test shows the result.

What is where:

control          for programs that use it: start, find, stop and empty the emulator
server/          what the server does beside AWS's services: its start, its first user, saving its state
sagemaker/       SageMaker: models, endpoints, jobs, tuning, the model registry
http_apis        API Gateway: who may call a function, and a named stage in the path that it sees
load_balancers/  load balancers in front of functions
aws_lambda/      Lambda: functions from ZIP files and images, versions, aliases, updates, metrics
cloudformation/  CloudFormation: resource types, properties and change sets
cloudwatch/      CloudWatch: metrics, metric math, alarms, Logs Insights
codebuild/       CodeBuild: builds that run their buildspec
kubernetes/      EKS: a real cluster, its registry, its gateway
ecr              ECR: the registry of images
limits/          what AWS refuses, whatever the service: the constraints of its models, and documented limits
iam/             IAM and STS: signatures, rights, web identities
engine           the container engine of this machine
disk             what a killed server left, checked and made whole
process          the server's process: started, recorded, recognized, ended
errors           what can go wrong when it starts
"""
