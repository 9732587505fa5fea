"""What an environment stands on in its account.

contract    what delivery expects of the service, and whether it is so
doctor      what is wrong with it, and the fix
removal     removes it permanently
infra       stacks applied, by change sets
stacks      which stacks there are, and their parameters
"""
