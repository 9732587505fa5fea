"""Where releases run: a folder for each target that ``pipeline.toml`` can name; nothing outside this folder imports them.

eks/                pods in a cluster of Amazon EKS
sagemaker/          a SageMaker endpoint
lambda_zip/         a function on AWS Lambda, from a ZIP
lambda_image/       a function on AWS Lambda, from a container image
lambda_function/    what the two have in common
container_image/    what those of container images have in common
"""
