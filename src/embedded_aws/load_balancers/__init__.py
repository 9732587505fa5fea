"""Application Load Balancers with functions as their targets.

calls      requests as events, and answers as responses; who is answered, and how much fits
network    subnets are in two zones; a target can be called when it is registered
resources  the same where a stack makes them, with the targets and attributes of the template
"""
