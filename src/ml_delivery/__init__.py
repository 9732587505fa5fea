"""The delivery code behind ``tasks.py``: verbs that plan and act, return frozen records and print nothing.

What lies where; imports go downward only, here and within each folder, which has such a map of its own:

tasks/          what ``invoke`` runs: words, order, printing, exit codes
monitoring/     what is seen from the outside: one definition, and all that is made of it
release/        artifact + configuration + model in one environment: planned, deployed, watched, recorded, rolled back
artifact/       what is built, once: packed, pushed, found again
commands        those that the service names to train, evaluate and promote a model
account/        what an environment stands on in its account: made, checked, removed
notify          who is told
cloud           the AWS that is talked to
scanning        what is searched for faults
dependencies/   what is locked, and installed from the locks
models          which models are promoted
source          the commit, and whether the tree is as it says
config, keys    ``pipeline.toml``, and what may be in it
waiting, costs  time, and money
errors          every fault that a user can meet
"""

__version__ = "0.1.0"
