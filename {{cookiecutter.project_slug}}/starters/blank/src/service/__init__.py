"""The smallest service whose model is trained, promoted, served and tested.

``model`` (what is fitted) and ``app`` (the API) are the example: replace them by your own. ``training`` → ``evaluation`` →
``promotion`` work with any ``model``, and name the promoted one in ``model.lock``; ``handler`` serves it.
"""
