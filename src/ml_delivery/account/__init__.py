"""An environment's infrastructure in its AWS account.

trust        checks which roles accept which GitHub tokens
doctor       checks it, and prints fixes
removal      removes it permanently
change_sets  applies stacks, by change sets
events       what happens to a stack
guards       what the bucket's policy must deny
rules        the ruleset files of the service, compared with GitHub's rules
github       asks GitHub about the repository
policies     the policies of a template, and how two differ
stacks       defines the stacks and their parameters
jobs         what jobs add to them
"""
