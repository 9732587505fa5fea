"""Preparing data and training: here, or as jobs on AWS, which are followed to their end and stopped when they can't be.

pipeline    runs prepare, tune, train, evaluate and register as one
rendering   renders its definition, from the settings of each
batch       answers the lines of a file
train       trains on the hosts of a job, and merges what they made
tune        tunes by trials that are jobs, within a budget
definition  a pipeline's definition, made of the jobs' requests
packages    the model registry: a package for each promoted model, approved as model.lock says
prepare     runs the notebook that makes a dataset
running     runs a job: started, followed to its end, stopped when it can't be
sagemaker   kinds of SageMaker's jobs, and the requests that create them
images      the image of jobs: the user's own, or built from requirements/train.txt
steps       what every job has in common: its inputs, its name, its role, its cost
datasets    datasets, by the digest of their content: on the disk and in the environment's bucket
split       divides the parts of a training among hosts
inside      runs in a job's container, which has neither this package nor anything else but Python
notebook    runs a notebook, in the training environment
"""
