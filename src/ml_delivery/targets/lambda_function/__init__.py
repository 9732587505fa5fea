"""What the targets on AWS Lambda have in common: a release is a published version, the alias ``live`` names what serves.

target      the target: its keys, its limits, its parts
infrastructure    its part of the stacks, which foundation.yaml and delivery.yaml hold
observing   panels, alarms and log queries
deployer    the function of one environment: staged, called, measured, removed
function    the function itself, brought to what a release asks for
alias       how traffic is split between versions
http        HTTP as Lambda sees it
metrics     what Lambda measures
costs       list prices
settings    the keys of ``[function]``
probe       asks a handler on this machine, for ``invoke doctor --contract``
"""
