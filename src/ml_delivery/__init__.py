"""The delivery code behind ``tasks.py``: verbs that plan and act, return frozen records and print nothing.

What is where; imports go downward only, here and within each folder, which has its own map:

tasks/          what ``invoke`` runs: options, order, printing, exit codes
targets/        where releases run, a folder for each; found by name only
local           the service on this machine: served, and as a shell
contract        checks what delivery expects of the service
monitoring/     one definition of panels and alarms, and everything that is made from it
experiments/    what an A/B has measured so far, and what follows from it
jobs/           data prepared and models trained, here or as jobs on AWS
release/        artifact + configuration + model in one environment: planned, deployed, watched, recorded, rolled back
containers/     images: written as files or built by this machine's engine, pushed to ECR
account/        an environment's infrastructure in its account: created, checked, removed
upgrade         updates a service to a newer template, by cruft
upstream        the template, and its changes
artifact/       what is built once: packed, pushed, found
commands        the service's commands to train, evaluate and promote a model
notify          notifications, to Slack and SNS
hooks           the service's own commands before and after a build, deploy or rollback
eject           the package as a copy in the service's own tree
scanning        security scans
findings        what a check of ``invoke doctor`` found, as records
target          the contract of a target
cloudformation  templates as data, composed of parts
observed        queries, panels and alarms, as records
packing/        packs files into archives, with the same bytes on any machine
models          the promoted models
objects         conditional writes to S3
formats         how records are stored
files           the files of a source, from git's objects or the disk
source          the commit, and whether the tree differs from it
records/        Source, Manifest, Artifact, Release, and what a target reports
cloud           clients for AWS, embedded or real
emulator        the only module that knows ``embedded_aws``, the emulator of AWS
dependencies/   lockfiles, and what is installed from them
config          ``pipeline.toml``, read
keys            its keys
http_keys       those about the address
job_keys        those about data and jobs
declaring       how a key is declared
sections        one table of it, checked against its keys
plugin          finds the target that it names
waiting         waits for a state
signals         cancels, ignored while something is restored
masking         text without secrets, control characters and commands to a runner
errors          every error that a user can see
"""

__version__ = "0.1.0"
