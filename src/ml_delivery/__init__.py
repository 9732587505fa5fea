"""The delivery code behind ``tasks.py``: verbs that plan and act, return frozen records and print nothing.

What lies where; imports go downward only, here and within each folder, which has such a map of its own:

tasks/          what ``invoke`` runs: words, order, printing, exit codes
targets/        where releases run, a folder for each; found by name only
contract        what delivery expects of the service, and whether it is so
monitoring/     what is seen from the outside: one definition, and all that is made of it
release/        artifact + configuration + model in one environment: planned, deployed, watched, recorded, rolled back
containers/     images: built by this machine's engine, pushed to ECR
account/        what an environment stands on in its account: created, checked, removed
upgrade         a newer template, brought in by cruft
upstream        the template, and what is new in it
artifact/       what is built, once: packed, pushed, found again
commands        those that the service names to train, evaluate and promote a model
notify          notifications, to Slack and SNS
hooks           the service's own commands around a build, deploy or rollback
eject           the package as a copy in the service's own tree
scanning        security scans
target          the contract of a target
templates       CloudFormation templates as data, put together from parts
observed        what can be observed of a service: queries, panels, alarms
packing/        files into archives, the same bytes on any machine
models          which models are promoted
objects         conditional writes to S3
formats         how records are kept
source          the commit, and whether the tree is as it says
records/        what is passed on: Source, Manifest, Artifact, Release, and what a target reports
cloud           the AWS that is used
emulator        the only module that knows ``embedded_aws``, the emulator of AWS
dependencies/   what is locked, and installed from the locks
config          ``pipeline.toml``, read
keys            what may be in it
plugin          finds the target that it names
waiting         waits for a state
errors          every fault that a user can meet
"""

__version__ = "0.1.0"
