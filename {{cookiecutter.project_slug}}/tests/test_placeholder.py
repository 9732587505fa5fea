"""Tests of the service."""
def test_it():
    import service
