"""Container images.

packer        makes the image of a service: as files, or in an engine
registry      images in ECR, by version and by digest
layouts       an image as files
bases         base images, kept by digest
locked        the digests of base images in the service's repository
reading       reads from any registry
layers        writes layers, with the same bytes on any machine
dockerfile    reads the Dockerfile, and what in it needs an engine
instructions  the instructions of a Dockerfile
images        images in ECR: compared, named and removed
engines       the container engines on this machine
"""
