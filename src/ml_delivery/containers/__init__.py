"""Container images.

registry    images in ECR, by version and by digest
engines     the container engines on this machine
"""
