"""Releases: one state machine, whatever the target.

verify                                proves that what is live is what its commit's build made
rebuild                               builds a clone in a process of its own
retiring                              removes what serves and costs while idle
comparing                             an A/B: two releases share the traffic, and one of them gets all of it
deploy                                deploy, resume and rollback, from taking the lock to the record
numbers                               a release's number, from what a user types
machine                               the sequence of steps that they share
plan, probing, watch, retention       what would change; the health check; live metrics; what can be removed
serving                               what serves after the previous state was restored
rollout                               how traffic shifts, and for how long
front                                 the address of what is live
following                             the log, as it is written
calling                               one request of the user to a release
delivery                              one environment, opened: its cloud, foundation, target and ledger
ledger, history                       what was released, and the same as a page
words                                 records as text
foreign                               what the service wrote, as far as it may be shown
results, head                         what each step did; the ledger's current state
"""
