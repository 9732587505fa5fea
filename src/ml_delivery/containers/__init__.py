"""Container images.

registry    images in ECR, by commit and by digest
engines     which program builds images on this machine
"""
