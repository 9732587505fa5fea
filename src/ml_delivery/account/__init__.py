"""An environment's infrastructure in its AWS account.

doctor       checks it, and prints fixes
removal      removes it permanently
change_sets  applies stacks, by change sets
events       what happens to a stack
stacks       defines the stacks and their parameters
"""
