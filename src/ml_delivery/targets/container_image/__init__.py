"""What the targets have in common whose artifact is a container image in the environment's repository.

target   the base classes: of any image, and of one whose WSGI application gunicorn serves
probe    loads a WSGI application and sends requests, for ``invoke doctor --contract``
serve    lets gunicorn serve a WSGI application, for ``invoke serve``
"""
