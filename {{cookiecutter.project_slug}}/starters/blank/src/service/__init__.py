"""The smallest service whose model is trained, promoted, served and tested.

``model`` and ``app`` are the example, to be replaced by yours: what is learned, and what is asked and answered. ``training``
→ ``evaluation`` → ``promotion`` make whatever ``model`` describes the one that ``model.lock`` names; ``handler`` serves it.
"""
