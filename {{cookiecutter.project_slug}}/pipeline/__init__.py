"""The delivery code behind ``tasks.py``: verbs that plan and act, return frozen records and print nothing.

Imports go downward only: verbs (``build``, ``push``, ``deploy`` …) → ``targets``, ``ledger``, ``store`` →
``cloud``, ``source``, ``config`` → ``errors``.
"""
