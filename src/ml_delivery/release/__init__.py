"""Releases: one state machine, whatever the target.

verify                                what is live is what its commit's build made
deploy                                deploy, resume and rollback, from the lock to the record
machine                               their one sequence of steps
plan, probing, watch, retention       what would change; is it itself; what users meet; what can go
delivery                              one environment, opened: its cloud, foundation, target and ledger
targets/                              where versions live, and how traffic moves
ledger, history                       what was released, who is at work, and the same as a page
head                                  the ledger's records
"""
