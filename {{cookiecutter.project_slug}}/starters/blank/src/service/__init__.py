"""How long a trip takes: the smallest service that is trained, promoted, served and tested. Replace it by yours.

``data`` → ``model`` → ``training`` → ``evaluation`` → ``promotion`` make the model that ``model.lock`` names; ``app`` and
``handler`` serve it.
"""
