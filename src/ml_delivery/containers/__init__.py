"""Container images.

packer      builds the image of a service
registry    images in ECR, by version and by digest
images      images in ECR: compared, named and removed
engines     the container engines on this machine
"""
