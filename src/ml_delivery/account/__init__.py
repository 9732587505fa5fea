"""What an environment stands on in its account.

doctor      what is wrong with it, and the fix
removal     removes it permanently
infra       stacks applied, by change sets
stacks      which stacks there are, and their parameters
"""
