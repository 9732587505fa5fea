"""What an A/B has measured so far, and what follows from that by its rule.

words        a reading as text
reading      the outcomes of both releases, counted and judged
outcomes     outcomes, from a file or from the service's log
statistics   a confidence sequence, and a test of the traffic split, both valid at every look
"""
