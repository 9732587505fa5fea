"""Releases: one state machine, whatever the target.

verify                                what is live is what its commit's build made
deploy                                deploy, resume and rollback, from the lock to the record
machine                               their one sequence of steps
plan, probing, watch, retention       what would change; the health check; what users meet; what can be removed
delivery                              one environment, opened: its cloud, foundation, target and ledger
ledger, history                       what was released, and the same as a page
words                                 sentences about records
steps, head                           what steps did; the ledger's current state
"""
