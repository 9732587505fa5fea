"""Application Load Balancers with functions as their targets.

resources  what a stack makes has the targets and attributes of the template, and is refused as by the operations
network    subnets are in two zones; a target can be called when it is registered
calls      requests as events, and answers as responses; who is answered, and how much fits
"""
