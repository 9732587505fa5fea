"""``make demo``: the first hour of a service, run and shown.

__main__     what was asked for, and the summary
service      the service that is made, and the commands in it
delivery     the story of a service: from its creation to a rollback
pipeline     the story of an ML pipeline: from the data to an A/B
"""
